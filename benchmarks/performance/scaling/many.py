"""CPU, memory and latency of one daemon by the number of its cameras and of its models.

``benchmarks run many-cameras`` and ``many-models``. A camera is a folder of 1280 x 720 JPEGs at 5 frames/s, as a camera
with an HTTP snapshot or an MQTT picture gives them; what decoding of H.264 costs is measured by ``benchmarks run
cameras``. Their rates differ by up to 5 %, so that their frames meet in every way, as those of real cameras do.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.performance.bare_runs import BUNDLE, Report, pictures_in
from benchmarks.performance.peers.http_load import free_port
from edge_runtime.cli.bench.daemon import RunningDaemon, run_daemon

FPS, SPREAD = 5.0, 0.05
CAMERAS = (1, 2, 4, 8, 16)
MODELS = (1, 2, 4, 8)


def measure_cameras(*, rounds: int, seconds: float, counts: Sequence[int] = CAMERAS) -> Report:
    """One model, so many cameras."""
    return _measure(rounds, seconds, [(count, 1) for count in counts])


def measure_models(*, rounds: int, seconds: float, counts: Sequence[int] = MODELS) -> Report:
    """So many models, each with one camera."""
    return _measure(rounds, seconds, [(count, count) for count in counts])


def _measure(rounds: int, seconds: float, sizes: Sequence[tuple[int, int]]) -> Report:
    with tempfile.TemporaryDirectory(prefix="many-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures")
        return {
            "fps": FPS,
            "rounds": [
                {
                    str(cameras): look_at(
                        many_config(pictures[0].parent, cameras, models),
                        seconds,
                        folder / f"{number}-{cameras}",
                    )
                    for cameras, models in sizes
                }
                for number in range(rounds)
            ],
        }


def many_config(pictures: Path, cameras: int, models: int, bundle: Path = BUNDLE) -> dict[str, Any]:
    """A box with so many of both; cameras are shared out among the models in turn."""
    return {
        "device": "bench",
        "models": {f"model-{n}": {"bundle": str(bundle.resolve())} for n in range(models)},
        "cameras": {
            f"camera-{n}": {"path": str(pictures), "model": f"model-{n % models}", "fps": fps, "loop": True}
            for n, fps in enumerate(paces(cameras))
        },
        "http": {"port": free_port()},
        "log": {"level": "error"},
    }


def paces(cameras: int) -> list[float]:
    """Frames a second of each camera, ``FPS`` in the mean."""
    if cameras == 1:
        return [FPS]
    return [round(float(fps), 4) for fps in np.linspace(FPS * (1 - SPREAD), FPS * (1 + SPREAD), cameras)]


def look_at(config: dict[str, Any], seconds: float, folder: Path) -> dict[str, float]:
    """Start such a daemon, look at it for so long, end it."""
    with run_daemon(config, folder) as running:
        return {"first_result_s": running.first_result_s, **look(running, seconds)}


def look(running: RunningDaemon, seconds: float) -> dict[str, float]:
    """Frames a second, cores in use, memory, and milliseconds from capture to result."""
    found = running.look(seconds)
    total_ms = [timings["total"] for timings in found["timings_ms"]]
    p50, p99, worst = np.percentile(total_ms, (50, 99, 100))
    return {
        "frames_per_s": found["frames_per_s"],
        "cores": found["frames_per_s"] * found["cpu_ms_per_frame"] / 1000,
        "pss_mib": found["pss_mib"],
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "worst_ms": float(worst),
    }
