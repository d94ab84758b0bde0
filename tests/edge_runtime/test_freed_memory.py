"""Memory that was freed goes back to the system."""

import psutil

from edge_runtime.freed_memory import give_back


def test_what_was_freed_in_small_pieces_leaves_the_process():
    own = psutil.Process()
    pieces = [bytearray(20_000) for _ in range(4_000)]  # below the size that the C library maps by itself
    keep = pieces[::40]
    full = own.memory_info().rss
    del pieces
    give_back()
    assert full - own.memory_info().rss > 40 * 2**20
    assert len(keep) == 100
