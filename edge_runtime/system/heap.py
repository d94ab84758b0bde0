"""Settings of the C library's heap (glibc; elsewhere nothing happens).

Two things cost a long-running daemon memory. Every thread gets its own arena, and pictures that streams allocate
and inference workers free leave holes in all of them: with one arena for all, two 720p streams take 137 MiB instead of
153, at the same speed. And a model is opened while another one runs; the memory of a closed one stays with the process,
in holes that do not fit the next model: 200 swaps of a 5 MB model grew a daemon by 30 MiB, and by 1 MiB with
``calibration.stats.heap.trim_heap``.
"""

import ctypes
import os

_ARENA_MAX = -8  # M_ARENA_MAX in malloc.h


def share_one_arena() -> None:
    """Let all threads allocate from one arena unless ``MALLOC_ARENA_MAX`` is set; call before threads start."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None and "MALLOC_ARENA_MAX" not in os.environ:
        set_option(_ARENA_MAX, 1)
