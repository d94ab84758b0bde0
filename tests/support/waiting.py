"""How tests wait for what another thread does: poll with a deadline."""

import threading
import time


def until(condition, timeout_s=10.0):
    """The condition's last value: its first true one, or what it was at the deadline."""
    tick, end_s = threading.Event(), time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < end_s:
        tick.wait(0.005)
    return value
