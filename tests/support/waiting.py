"""How tests wait for another thread or process: poll with a deadline."""

import threading
import time

WAIT_S = 120.0
"""The longest wait for an event that should come at once, also on a slow and busy machine: only a fault uses it up."""


def until(condition, timeout_s=WAIT_S):
    """The condition's last value: its first true one, or its value at the deadline."""
    tick, end_s, pause_s = threading.Event(), time.monotonic() + timeout_s, 0.001
    while not (value := condition()) and time.monotonic() < end_s:
        tick.wait(pause_s)
        pause_s = min(0.02, 1.5 * pause_s)
    return value


def pause(seconds):
    """Let other threads work for a while."""
    threading.Event().wait(seconds)
