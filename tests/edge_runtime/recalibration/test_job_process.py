"""Jobs as real processes: how they end, what is known of why, and that they can be ended."""

import os
import threading
import time

import numpy as np
import pytest

from calibration import Baseline
from edge_runtime.errors import StateError
from edge_runtime.recalibration.job.process import JobProcess
from edge_runtime.system import priority
from tests.support.paths import DEMO

FOR_EVER = 1e12


def job(**keys):
    defaults = {
        "kind": "commission",
        "cause": "command",
        "at": 0.0,
        "facts": {},
        "bundle": str(DEMO / "bundle" / "efficientnet-lite0" / "1"),
        "baseline": "none",
        "reference_folder": None,
        "most": 8,
        "keep_pictures": True,
        "further_input": [],
        "memory_mib": 1024,
        "margin": None,
        "threads": 1,
        "seed": 0,
    }
    return {**defaults, **keys}


def frames(count):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def outcome_of(process, timeout_s=60.0):
    tick, end_s = threading.Event(), time.monotonic() + timeout_s
    while (outcome := process.poll(0.0)) is None and time.monotonic() < end_s:
        tick.wait(0.05)
    assert outcome is not None
    return outcome


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(order, pixels=None, deadline_s=FOR_EVER):
        started.append(JobProcess.start(tmp_path / "jobs" / "one", order, pixels, deadline_s))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


def test_commissioning_leaves_a_baseline_and_a_probe(start):
    outcome = outcome_of(start(job(), frames(16)))
    assert outcome.error is None
    assert outcome.data["frames"] == 16
    assert (outcome.folder / "baseline.safetensors").stat().st_size > 10_000
    assert (outcome.folder / "probe.onnx").is_file()


def test_a_reason_that_the_library_gives_reaches_the_daemon(start, tmp_path):
    outcome = outcome_of(start(job(kind="recalibrate", baseline=str(tmp_path / "missing")), frames(8)))
    assert outcome.data is None
    assert "missing: cannot be read" in outcome.error


def test_a_bundle_that_is_gone_is_named(start, tmp_path):
    assert "no bundle.yaml in it" in outcome_of(start(job(bundle=str(tmp_path)), frames(8))).error


def test_a_process_that_crashes_leaves_its_last_words(start):
    assert "KeyError" in outcome_of(start({"kind": "commission"})).error


def test_a_job_without_frames_is_told_so(start):
    assert "no frames were handed over" in outcome_of(start(job(), pixels=None)).error


def test_no_picture_is_written_to_the_disk_for_a_job(start, tmp_path):
    outcome_of(start(job(keep_pictures=False), frames(16)))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "jobs").rglob("*") if path.is_file()}
    assert set(sizes) == {"job.json", "log.txt", "outcome.json", "baseline.safetensors", "probe.onnx"}
    assert Baseline.load(tmp_path / "jobs" / "one" / "baseline.safetensors").witness is None


def test_too_little_memory_is_an_outcome_and_no_crash(start):
    error = outcome_of(start(job(memory_mib=60), frames(16))).error
    assert error


def test_a_job_past_its_deadline_is_killed_and_said_so(start):
    process = start(job(), frames(16), deadline_s=10.0)
    assert process.poll(9.0) is None
    outcome = process.poll(10.0)
    assert "recalibration.timeout_s" in outcome.error
    assert process._process.returncode == -9


def test_killing_twice_is_harmless_and_starting_again_begins_from_nothing(start):
    first = start(job(), frames(16))
    first.kill()
    first.kill()
    (first.folder / "leftover").touch()
    second = start(job(), frames(16))
    assert not (second.folder / "leftover").exists()


def test_a_folder_that_cannot_be_written_is_a_state_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="check space"):
        JobProcess.start(tmp_path / "file" / "job", job(), None, FOR_EVER)


def test_the_job_runs_at_low_priority(start):
    process = start(job(), frames(16))
    tick, end_s = threading.Event(), time.monotonic() + 30
    pid = process._process.pid
    while (nice := os.getpriority(os.PRIO_PROCESS, pid)) == 0 and time.monotonic() < end_s:
        tick.wait(0.01)
    assert nice == priority.LOW_PRIORITY
