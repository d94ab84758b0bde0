"""Jobs as real processes: how they end, what is known of why, and that they can be ended."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from calibration import Baseline
from calibration.baseline.metadata import BaselineFacts
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import RecalibrationConfig, ReferenceConfig
from edge_runtime.errors import StateError
from edge_runtime.recalibration.job.messages import CommissioningResult, JobFailure, JobRequest
from edge_runtime.recalibration.job.process import JobProcess
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from edge_runtime.system import priority
from tests.support.conveyor import conveyor_frames
from tests.support.paths import DEMO
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

FOR_EVER = 1e12
HURRIED_S = 1.0
"""As ``recalibration.timeout_s`` in a request: a job pauses for a full box in the first third of it only."""
BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"


def job(**fields):
    values = {
        "kind": Kind.COMMISSION,
        "cause": Cause.COMMAND,
        "at_wall_s": 0.0,
        "bundle": BUNDLE,
        "baseline": Path("none"),
        "reference": ChosenReference(),
        "frames": 64,
        "settings": RecalibrationConfig(timeout_s=HURRIED_S),
        "facts": BaselineFacts(),
        "further_input": (),
        "manifest_sha256": load_bundle(BUNDLE).manifest.sha256,
    }
    return JobRequest(**{**values, **fields})


def frames(count):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def outcome_of(process, timeout_s=WAIT_S):
    outcome = until(lambda: process.poll(0.0), timeout_s)
    assert outcome is not None
    return outcome


def failure_of(process):
    result = outcome_of(process)
    assert isinstance(result, JobFailure)
    return result


def caught_signals(pid):
    mask = int(Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0], 16)
    return {one for one in signal.valid_signals() if mask >> (one - 1) & 1}


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(order, pixels=None, deadline_s=FOR_EVER):
        started.append(JobProcess(tmp_path / "jobs" / "one", order, pixels, deadline_s))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


def test_commissioning_leaves_a_baseline_and_a_probe(start):
    process = start(job(), frames(16))
    outcome = outcome_of(process)
    assert isinstance(outcome, CommissioningResult)
    assert outcome.frames == 16
    assert (process.folder / "baseline.safetensors").stat().st_size > 10_000
    assert (process.folder / "probe.onnx").is_file()


def test_a_reason_that_the_library_gives_reaches_the_daemon(start, tmp_path):
    failure = failure_of(start(job(kind=Kind.RECALIBRATE, baseline=tmp_path / "missing"), frames(8)))
    assert "missing" in failure.error


def test_a_bundle_that_is_gone_is_named(start, tmp_path):
    assert "bundle.yaml" in failure_of(start(job(bundle=tmp_path), frames(8))).error


def test_a_process_that_crashes_leaves_its_last_words(start):
    assert "Error" in failure_of(start(job(), np.zeros(8, np.uint8))).error


def test_a_job_without_frames_is_told_so(start):
    assert failure_of(start(job(), pixels=None)).error


def test_no_picture_is_written_to_the_disk_for_a_job(start, tmp_path):
    outcome_of(
        start(
            job(
                settings=RecalibrationConfig(timeout_s=HURRIED_S, reference=ReferenceConfig(pictures="never"))
            ),
            frames(16),
        )
    )
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "jobs").rglob("*") if path.is_file()}
    assert set(sizes) == {
        "job.json", "progress.json", "outcome.json", "baseline.safetensors", "probe.onnx"
    }  # fmt: skip
    assert Baseline.load(tmp_path / "jobs" / "one" / "baseline.safetensors").healthy_samples is None


def test_too_little_memory_is_an_outcome_and_no_crash(start):
    assert failure_of(
        start(job(settings=RecalibrationConfig(timeout_s=HURRIED_S, memory_mib=128)), frames(16))
    ).error


def test_a_job_past_its_deadline_is_killed_and_said_so(start):
    process = start(job(), frames(16), deadline_s=10.0)
    assert process.poll(9.0) is None
    assert "recalibration.timeout_s" in process.poll(10.0).error
    assert process._process.returncode == -9


def test_killing_twice_is_harmless_and_starting_again_begins_from_nothing(start):
    first = start(job(), frames(16))
    first.kill()
    first.kill()
    (first.folder / "leftover").touch()
    second = start(job(), frames(16))
    assert not (second.folder / "leftover").exists()


def test_a_job_that_is_killed_while_it_distils_leaves_nothing_but_its_folder(start, tmp_path):
    """And the next one begins from nothing: no half of a descent is taken up."""
    healthy = start(job(), conveyor_frames(64, 0))
    assert isinstance(outcome_of(healthy), CommissioningResult)
    baseline = shutil.copy(healthy.folder / "baseline.safetensors", tmp_path)
    again = job(kind=Kind.RECALIBRATE, baseline=Path(baseline))

    def files_outside(folder):
        return {path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents}

    def phase_of(process):
        return process.progress and process.progress.phase

    victim = start(again, conveyor_frames(48, 1000, "contrast"))
    assert until(lambda: victim.poll(0.0) is None and phase_of(victim) == "distilling", WAIT_S)
    os.kill(victim._process.pid, signal.SIGKILL)
    assert isinstance(failure_of(victim), JobFailure)
    assert files_outside(victim.folder) == {Path(baseline)}
    assert not (victim.folder / "patch").exists()
    second = start(again, conveyor_frames(48, 1000, "contrast"))
    assert phase_of(second) in (None, "preparing")
    assert until(lambda: phase_of(second) == "measuring", WAIT_S)


def test_a_folder_that_cannot_be_written_is_a_state_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError):
        JobProcess(tmp_path / "file" / "job", job(), None, FOR_EVER)


def test_the_job_runs_at_low_priority_and_computes_on_one_thread_in_pieces(start):
    process = start(job(), frames(16))
    pid = process._process.pid
    assert until(lambda: process.progress and process.progress.phase == "measuring", WAIT_S)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(
        19, os.getpriority(os.PRIO_PROCESS, 0) + priority.JOB_NICENESS
    )
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    assert signal.SIGPROF in caught_signals(pid)
