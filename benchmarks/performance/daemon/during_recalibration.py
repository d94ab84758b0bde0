"""Live inference while a recalibration runs: ``benchmarks run during-recalibration``.

A real daemon plays pictures flat out; meanwhile the recalibration process that daemons start does a real job on the
demo's photographs under haze. Frames a second before, during and after, in turns. One stream alone uses every core,
so a core is left free by binding the daemon to another one.
"""

import os
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.performance.bare_runs import BUNDLE, Report, capacity, pictures_in
from calibration.baseline.metadata import BaselineFacts
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.daemon import RunningDaemon, run_daemon
from edge_runtime.config import DemoConfig, RecalibrationConfig
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.preprocess import Preprocessor
from edge_runtime.recalibration.job.messages import JobFailure, JobRequest, JobResult
from edge_runtime.recalibration.job.process import JobProcess
from edge_runtime.recalibration.task import Cause, Kind
from edge_runtime.sources.demo.demo_camera import DemoCamera

DEMO = BUNDLE.parents[2] / "pictures"
COUNT, JOB_TIMEOUT_S = 64, 300.0
LOOK_S = 2.0
"""One look; several follow one another for as long as the job runs."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a recalibration needs."""

    folder: Path
    baseline: Path
    pixels: NDArray[np.uint8]


def measure(*, rounds: int, count: int = COUNT, bundle: Path = BUNDLE) -> Report:
    """With a core left over (the daemon is bound to the other one) and with none; ``count`` reference pictures."""
    with tempfile.TemporaryDirectory(prefix="recalibration-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures", bundle)
        job, one = _commissioned(folder, bundle, count), (min(os.sched_getaffinity(0)),)
        return {
            "rounds": [
                {
                    "capacity": capacity(bundle, pictures),
                    "free core": _round(
                        bundle, pictures, job, folder / f"free-{number}", streams=1, cpus=one
                    ),
                    "no free core": _round(bundle, pictures, job, folder / f"none-{number}", streams=2),
                }
                for number in range(rounds)
            ]
        }


def _round(
    bundle: Path, pictures: Sequence[Path], job: Job, folder: Path, *, streams: int, cpus: Sequence[int] = ()
) -> Report:
    camera = {"path": str(pictures[0].parent), "model": MODEL, "loop": True}
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    model = {"bundle": str(bundle.resolve()), "max_age_ms": None, "threads": 1, "recalibrate": False}
    config = {
        "device": "bench",
        "models": {MODEL: model},
        "cameras": {f"camera-{n}": camera for n in range(streams)},
        "http": {"port": port},
        "log": {"level": "error"},
    }
    with run_daemon(config, folder, cpus) as running:
        before = _frames_per_s(running, 2)
        during, job_s = _during(running, job, bundle)
        after = _frames_per_s(running, 2)
    alone = statistics.mean([before, after])
    return {
        "alone": alone,
        "before": before,
        "after": after,
        "during": during,
        "job_s": job_s,
        "ratio": during / alone,
    }


def _during(running: RunningDaemon, job: Job, bundle: Path) -> tuple[float, float]:
    """Frames a second while a job runs, and how long it took; a look that the job's end cut short does not count."""
    process = _started(job, bundle, Kind.RECALIBRATE)
    began_s, looks, outcome = time.monotonic(), list[float](), None
    while outcome is None:
        found = _frames_per_s(running, 1)
        outcome = process.poll(time.monotonic())
        if outcome is None or not looks:
            looks.append(found)
    _require_success(outcome)
    return statistics.mean(looks), time.monotonic() - began_s


def _require_success(result: JobResult) -> None:
    match result:
        case JobFailure(error):
            raise RuntimeError(error)


def _frames_per_s(running: RunningDaemon, looks: int) -> float:
    return statistics.mean(float(running.look(LOOK_S)["frames_per_s"]) for _ in range(looks))


def _commissioned(folder: Path, bundle: Path, count: int) -> Job:
    """A baseline from healthy photographs, and the hazy ones to recalibrate with."""
    healthy = Job(folder / "job", folder / "baseline.safetensors", _photographs(bundle, count, drifted=False))
    process = _started(healthy, bundle, Kind.COMMISSION)
    while (outcome := process.poll(time.monotonic())) is None:
        time.sleep(0.05)
    _require_success(outcome)
    (healthy.folder / "baseline.safetensors").rename(healthy.baseline)
    return Job(folder / "job", healthy.baseline, _photographs(bundle, count, drifted=True))


def _started(job: Job, bundle: Path, kind: Kind) -> JobProcess:
    settings = RecalibrationConfig()
    digest = load_bundle(bundle).manifest.sha256
    request = JobRequest(
        kind,
        Cause.COMMAND,
        time.time(),
        bundle.resolve(),
        job.baseline,
        None,
        settings,
        BaselineFacts(),
        (),
        digest,
    )
    return JobProcess(job.folder, request, job.pixels, time.monotonic() + JOB_TIMEOUT_S)


def _photographs(bundle: Path, count: int, *, drifted: bool) -> NDArray[np.uint8]:
    """Prepared pictures before normalising, as the reservoir keeps them, uint8 (N,H,W,3)."""
    preprocessor = Preprocessor(load_bundle(bundle).manifest.preprocess)
    conveyor = DemoCamera("c", DEMO, DemoConfig(drift="haze", drift_at_s=0), fps=10.0)
    found = []
    for number in range(count):
        pixels = conveyor.frame(number + 500 * drifted, drifted=drifted)
        sample = preprocessor.prepare(Frame("c", number, pixels, 0.0, 0.0))
        if isinstance(sample, Sample) and sample.pixels is not None:
            found.append(sample.pixels)
    return np.stack(found)
