"""For all tests: one thread of BLAS and OpenMP before numpy is imported, files in memory, and the two lanes.

A test is a unit test unless its file says ``pytestmark = pytest.mark.integration`` (or it has that marker itself).
Unit tests start no process and import neither torch nor openvino; ``pytest -m unit`` does not import the other files.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import structlog

from edge_runtime.system.collector import keep_what_is_made

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch, with the other workers of pytest-xdist

MEMORY, ROOM_BYTES = Path("/dev/shm"), 2 * 2**30
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
    # Stores, outboxes and states are synced thousands of times; on a disk that takes longer than all the rest, and
    # no test cuts the power.
    os.environ["TMPDIR"] = str(MEMORY)
    tempfile.tempdir = None  # it may have been looked up before

WHOLE_FILE = "\npytestmark = pytest.mark.integration\n"
SLOW_TO_IMPORT = ("torch", "openvino")


def pytest_ignore_collect(collection_path, config):
    is_unit_lane = config.option.markexpr == "unit" and collection_path.suffix == ".py"
    return True if is_unit_lane and WHOLE_FILE in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("integration") is None:
            item.add_marker("unit")
    items.sort(key=_turn)


def _turn(item):
    """The flows first: one of them alone at the end would leave all other processes idle for a minute."""
    return item.path.parent.name != "flows"


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    with keep_what_is_made():  # ten thousand tests and their modules
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    found = [name for name in SLOW_TO_IMPORT if name in sys.modules]
    if session.config.option.markexpr == "unit" and found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nunit tests imported {', '.join(found)}: mark the file pytest.mark.integration")


@pytest.fixture(autouse=True)
def _no_process_in_a_unit_test(request, monkeypatch):
    if request.node.get_closest_marker("unit") is not None:
        monkeypatch.setattr(subprocess, "Popen", _refuse)


@pytest.fixture(autouse=True)
def _plain_log():
    """The same short lines for every test: coloured tracebacks take half a second, and a level would stay."""
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _refuse(*arguments, **_):
    raise AssertionError(f"a unit test starts a process, {arguments}: mark it pytest.mark.integration")
