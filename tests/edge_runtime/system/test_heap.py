"""One arena for all threads, and memory that was freed goes back to the system."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from calibration.stats.heap import trim_heap
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

COUNT_ARENAS = """
import ctypes, sys, threading
from edge_runtime.system.heap import share_one_arena
share_one_arena()
barrier, kept = threading.Barrier(9), []
def allocate():
    kept.append(bytearray(20_000))
    barrier.wait()
    barrier.wait()
for _ in range(8):
    threading.Thread(target=allocate).start()
barrier.wait()
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(c.fopen(sys.argv[1].encode(), b"w"))
c.malloc_info(0, file)
c.fclose(file)
barrier.wait()
"""


@pytest.mark.parametrize(("setting", "expected"), [(None, 1), ("4", 4)])
def test_threads_share_one_arena_unless_the_environment_sets_another_number(
    tmp_path: Path, setting: str | None, expected: int
):
    others = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment = others if setting is None else others | {"MALLOC_ARENA_MAX": setting}
    facts = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", COUNT_ARENAS, facts], env=environment, check=True, timeout=WAIT_S)
    assert len(re.findall("<heap nr=", facts.read_text())) == expected


def test_what_was_freed_in_small_pieces_leaves_the_process():
    own = psutil.Process()
    pieces = [bytearray(20_000) for _ in range(4_000)]  # below the size that the C library maps by itself
    keep = pieces[::40]
    full = own.memory_info().rss
    del pieces
    trim_heap()
    assert full - own.memory_info().rss > 40 * 2**20
    assert len(keep) == 100
