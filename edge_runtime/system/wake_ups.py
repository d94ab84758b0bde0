"""One wake-up of a thread for all that comes in quick succession.

A wake-up costs time in the thread that is woken, and in the one that wakes it: they take turns with Python's lock.
"""

import time


def sleep_until(at_s: float) -> None:
    """Let what comes until then (by ``time.monotonic``) wait without waking this thread; returns at once afterwards."""
    left_s = at_s - time.monotonic()
    if left_s > 0:
        time.sleep(left_s)
