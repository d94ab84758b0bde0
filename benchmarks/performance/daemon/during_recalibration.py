"""Live inference while a recalibration runs: ``benchmarks run during-recalibration``.

A real daemon plays pictures; meanwhile the recalibration process that daemons start does a real job on the demo's
photographs under haze. Frames a second and latency before, during and after, in turns: at the pace of a camera, flat
out with a core left free (one stream alone uses every core, so the daemon is bound to another one), and flat out on
every core.
"""

import os
import socket
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.performance.bare_runs import BUNDLE, Report, capacity, pictures_in
from calibration.baseline.metadata import BaselineFacts
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.bench.bare import MODEL
from edge_runtime.cli.bench.daemon import RunningDaemon, run_daemon
from edge_runtime.config import DemoConfig, RecalibrationConfig
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.recalibration.job.messages import JobFailure, JobRequest, JobResult
from edge_runtime.recalibration.job.process import JobProcess
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from edge_runtime.sources.demo.demo_camera import DemoCamera

DEMO = BUNDLE.parents[2] / "pictures"
COUNT, JOB_TIMEOUT_S = 64, 300.0
LOOK_S = 2.0
"""One look; several follow one another for as long as the job runs."""
LOOKS_ALONE = 4
"""Before the job, and again after it: as long as a job takes, so that both p99 are those of as many frames."""
PACE_FPS = 15.0


Look = Mapping[str, Any]
"""What ``RunningDaemon.look`` gives."""


@dataclass(frozen=True, slots=True)
class Job:
    """Everything a recalibration needs."""

    folder: Path
    baseline: Path
    pixels: NDArray[np.uint8]


def measure(*, rounds: int, count: int = COUNT, bundle: Path = BUNDLE) -> Report:
    """At a camera's pace, flat out with a core left over, and with none; ``count`` reference pictures."""
    with tempfile.TemporaryDirectory(prefix="recalibration-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures", bundle)
        job, one = _commissioned(folder, bundle, count), (min(os.sched_getaffinity(0)),)
        return {
            "rounds": [
                {
                    "capacity": capacity(bundle, pictures),
                    "paced": _round(bundle, pictures, job, folder / f"paced-{number}", fps=PACE_FPS),
                    "free core": _round(
                        bundle, pictures, job, folder / f"free-{number}", streams=1, cpus=one
                    ),
                    "no free core": _round(bundle, pictures, job, folder / f"none-{number}", streams=2),
                }
                for number in range(rounds)
            ]
        }


def _round(
    bundle: Path,
    pictures: Sequence[Path],
    job: Job,
    folder: Path,
    *,
    streams: int = 1,
    fps: float | None = None,
    cpus: Sequence[int] = (),
) -> Report:
    camera: dict[str, object] = {"path": str(pictures[0].parent), "model": MODEL, "loop": True}
    if fps is not None:
        camera["fps"] = fps
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
        before = [running.look(LOOK_S) for _ in range(LOOKS_ALONE)]
        during, job_s = _during(running, job, bundle)
        after = [running.look(LOOK_S) for _ in range(LOOKS_ALONE)]
    alone = _frames_per_s([*before, *after])
    return {
        "alone": alone,
        "before": _frames_per_s(before),
        "after": _frames_per_s(after),
        "during": _frames_per_s(during),
        "job_s": job_s,
        "ratio": _frames_per_s(during) / alone,
        **_latency("alone", [*before, *after]),
        **_latency("during", during),
    }


def _during(running: RunningDaemon, job: Job, bundle: Path) -> tuple[list[Look], float]:
    """Looks while a job runs, and how long it took; a look that the job's end cut short does not count."""
    process = _started(job, bundle, Kind.RECALIBRATE)
    began_s, looks, outcome = time.monotonic(), list[Look](), None
    while outcome is None:
        found = running.look(LOOK_S)
        outcome = process.poll(time.monotonic())
        if outcome is None or not looks:
            looks.append(found)
    _require_success(outcome)
    return looks, time.monotonic() - began_s


def _require_success(result: JobResult) -> None:
    match result:
        case JobFailure(error):
            raise RuntimeError(error)


def _frames_per_s(looks: Sequence[Look]) -> float:
    return statistics.mean(float(look["frames_per_s"]) for look in looks)


def _latency(when: str, looks: Sequence[Look]) -> dict[str, float]:
    """From capture to result, of all frames of these looks."""
    total_ms = [timings["total"] for look in looks for timings in look["timings_ms"]]
    return {f"{when}_p{p}_ms": float(np.percentile(total_ms, p)) for p in (50, 99)}


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
        ChosenReference(),
        settings.reference.frames,
        settings,
        BaselineFacts(),
        (),
        digest,
    )
    return JobProcess(job.folder, request, job.pixels, time.monotonic() + JOB_TIMEOUT_S)


def _photographs(bundle: Path, count: int, *, drifted: bool) -> NDArray[np.uint8]:
    """Prepared pictures before normalising, as the reservoir keeps them, uint8 (N,H,W,3)."""
    preprocessor = make_preprocessor(load_bundle(bundle).manifest.preprocess)
    conveyor = DemoCamera("c", DEMO, DemoConfig(drift="haze", drift_at_s=0), fps=10.0)
    found = []
    for number in range(count):
        pixels = conveyor.frame(number + 500 * drifted, drifted=drifted)
        sample = preprocessor.prepare(Frame("c", number, pixels, 0.0, 0.0))
        if isinstance(sample, Sample) and sample.values is not None:
            found.append(sample.values)
    return np.stack(found)
