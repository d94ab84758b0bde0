"""What one recalibration costs: ``benchmarks run recalibration-cost``.

On one core (pinned), with 64 reference pictures, in a separate process: seconds on the clock and of CPU, memory
beyond the loaded library, model, baseline and pictures, and the size of the largest patch (all taps). The demo's model
and photographs under haze serve by default, so that nothing needs to be installed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil

from edge_runtime.sources.demo import DATA as DEMO

MODEL = DEMO / "bundle/efficientnet-lite0/1/model.onnx"
COUNT = 64


def prepare(folder: Path, model: Path) -> None:
    """Baseline and reference, as files."""
    import calibration
    from edge_runtime.bundles.verify import load_bundle
    from edge_runtime.config import DemoConfig
    from edge_runtime.datatypes import Frame, Sample
    from edge_runtime.inference.preprocess import make_preprocessor
    from edge_runtime.sources.demo.demo_camera import DemoCamera

    bundle = load_bundle(DEMO / "bundle" / "efficientnet-lite0" / "1")
    preprocessor = make_preprocessor(bundle.manifest.preprocess)
    conveyor = DemoCamera("c", DEMO / "pictures", DemoConfig(drift="haze", drift_at_s=0), fps=10.0)

    def tensors(first: int, count: int, drifted: bool) -> np.ndarray:
        samples = [
            preprocessor.prepare(Frame("c", i, conveyor.frame(i, drifted=drifted), 0.0, 0.0))
            for i in range(first, first + count)
        ]
        return np.stack([sample.tensor for sample in samples if isinstance(sample, Sample)])

    calibration.profile(model, tensors(0, 96, False), created_wall_s=0.0).save(
        folder / "baseline.safetensors"
    )
    np.save(folder / "reference.npy", tensors(500, COUNT, True))


def measure(folder: Path, model: Path) -> dict[str, float | str | bool]:
    """Runs in its own process: the peak before and after is then that of this one recalibration."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import onnx
    import onnxruntime  # noqa: F401 - loaded before memory is measured: the library is not the cost

    import calibration

    data = model.read_bytes()
    onnx.load_from_string(data)
    baseline = calibration.Baseline.load(folder / "baseline.safetensors")
    reference = np.load(folder / "reference.npy")
    before, began_s = psutil.Process().memory_info().rss, time.process_time()
    verdict = calibration.recalibrate(data, baseline, reference)
    cpu_s = time.process_time() - began_s
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    target = calibration.open_target(data)
    full = calibration.Patch(
        taps={
            tap.name: calibration.Affine(
                np.full(tap.channels, 1.01, np.float32), np.full(tap.channels, 0.01, np.float32)
            )
            for tap in target.taps
        },
        model_sha256=target.sha256,
        baseline_id=baseline.id,
        candidate="all taps",
        frames=COUNT,
        created_wall_s=0.0,
    )
    return {
        "pictures": COUNT,
        "seconds": round(verdict.seconds, 2),
        "cpu_seconds": round(cpu_s, 2),
        "extra_memory_mib": round((peak - before) / 2**20, 1),
        "all_taps_patch_kib": round(len(full.to_bytes()) / 1024, 1),
        "accepted": verdict.accepted,
        "candidate": verdict.candidate,
    }


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=MODEL)
@click.option("--runs", default=3, show_default=True)
def main(model: Path, runs: int) -> None:
    """Prepare baseline and reference here, measure in fresh processes, print a line of JSON a run."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), model)
        for _ in range(runs):
            command = [sys.executable, "-m", __name__, folder, str(model)]
            click.echo(subprocess.run(command, check=True, capture_output=True, text=True).stdout, nl=False)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]))))
