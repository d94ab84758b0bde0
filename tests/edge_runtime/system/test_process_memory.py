"""Memory of this process, as the kernel says it."""

import psutil

from edge_runtime.system.process_memory import read_process_memory


def test_it_is_what_another_library_reads():
    found = read_process_memory()
    assert abs(found.resident_bytes - psutil.Process().memory_info().rss) < 64 * 2**20
    assert found.peak_bytes >= found.resident_bytes


def test_a_kernel_that_says_nothing_is_no_error(tmp_path):
    assert read_process_memory(tmp_path / "none") is None
    (tmp_path / "status").write_text("Name:\tx\nVmRSS:\t 100 kB\n")
    assert read_process_memory(tmp_path / "status") is None
