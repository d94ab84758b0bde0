"""Gives freed pages of the C library's heap back to the system (glibc; elsewhere nothing happens)."""

import ctypes
import gc


def trim_heap() -> None:
    """Return free pages to the system.

    Takes milliseconds and holds the allocator's locks: not for a thread that answers frames.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def collect_garbage() -> None:
    """Free objects that only refer to each other as well, and return free pages to the system."""
    gc.collect()
    trim_heap()
