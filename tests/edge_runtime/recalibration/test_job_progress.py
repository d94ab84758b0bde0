"""How far a job is: told by its process, now and then, and read by those who ask."""

import pytest

from edge_runtime.errors import StateError
from edge_runtime.recalibration.job.messages import PROGRESS, JobProgress
from edge_runtime.recalibration.job.progress import EVERY_S, ProgressFile
from tests.support.controller_bench import Clock, ControllerBench


@pytest.fixture
def clock():
    return Clock()


def test_every_phase_is_told_when_it_begins(tmp_path, clock):
    told = ProgressFile(tmp_path, clock)
    for phase in ("preparing", "measuring", "distilling", "writing"):
        told.tell(phase, 0.0)
        assert PROGRESS.read(tmp_path) == JobProgress(phase, 0.0)


def test_within_a_phase_the_file_is_written_now_and_then(tmp_path, clock):
    told = ProgressFile(tmp_path, clock)
    told.tell("distilling", 0.0)
    clock.now += 0.9 * EVERY_S
    told.tell("distilling", 0.25)
    assert PROGRESS.read(tmp_path).share == 0.0
    clock.now += 0.2 * EVERY_S
    told.tell("distilling", 0.5)
    assert PROGRESS.read(tmp_path) == JobProgress("distilling", 0.5)


def test_a_disk_that_refuses_it_stops_no_job(tmp_path, clock):
    (tmp_path / "file").touch()
    ProgressFile(tmp_path / "file" / "job", clock).tell("judging", 0.0)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"phase": "painting", "share": 0.5}', b'{"phase": "judging", "share": "half"}']
)
def test_what_is_no_progress_is_refused(tmp_path, content):
    (tmp_path / PROGRESS.name).write_bytes(content)
    with pytest.raises(StateError):
        PROGRESS.read(tmp_path)


def test_the_status_shows_it_while_a_job_works_and_not_before_or_after(tmp_path):
    bench = ControllerBench(tmp_path)
    assert bench.controller.status().progress is None
    bench.request("recalibrate")
    assert bench.controller.status().progress is None
    bench.feed(9)
    bench.jobs[-1].progress = JobProgress("distilling", 0.25)
    assert bench.controller.status().progress == JobProgress("distilling", 0.25)
    bench.jobs[-1].fail("out of memory")
    bench.tick()
    assert bench.controller.status().progress is None
