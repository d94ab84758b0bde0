"""One contender in a separate process, which has no other memory: ``python -m ... ORDER.json`` prints JSON.

Pictures go in as arrays of the host and answers come back as arrays of the host, as in the daemon: the way to the
device and back is a part of every figure.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.performance.gpu.material import read_samples
from calibration.targets.base import ModelFiles
from edge_runtime.errors import EngineMissing
from edge_runtime.inference.engines.base import Engine, EngineSettings
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.threads import ThreadPlan, cpu_budget

WARM_UP_CALLS, LEAST_CALLS = 3, 5


def main(order_path: Path) -> None:
    """Do what the order says: ``{"model", "format", "precision", "device", "batches", "seconds", "work", "answers"}``.

    Prints ``{"unavailable": why}`` where the runtime has no such device, or calculates otherwise there.
    """
    order = json.loads(order_path.read_text())
    samples, before_mib = read_samples(Path(order["work"])), used_on_gpu_mib()
    settings = EngineSettings(devices=(order["device"],), precision=order["precision"])
    threads = ThreadPlan(cpu_budget().most_threads, 1, "benchmark")
    model = ModelFiles(Path(order["model"]).read_bytes())
    try:
        engine = open_engine(model, order["format"], samples.shape[1:], threads, settings)
    except EngineMissing as err:
        print(json.dumps({"unavailable": str(err)}))
        return
    if order["precision"] != "f32" and f"precision {order['precision']}" not in engine.runs_on:
        print(json.dumps({"unavailable": f"{engine.runs_on} does not calculate in {order['precision']}"}))
        return
    figures, answers = list[dict[str, Any]](), dict[str, NDArray[np.float32]]()
    for size in order["batches"]:
        figures.append(measure(engine, samples[:size], order["seconds"]) | _memory(before_mib))
        answers[str(size)] = answer_all(engine, samples, size)
    np.savez(order["answers"], allow_pickle=False, **answers)
    print(json.dumps({"runs_on": engine.runs_on, "batches": figures}))


def measure(engine: Engine, batch: NDArray[np.float32], seconds: float) -> dict[str, Any]:
    """Calls with one batch after the other: frames a second, milliseconds a call, CPU milliseconds of a frame.

    ``first_ms`` is the very first call with this size, which is often far slower: kernels are chosen then.
    """
    first_ms = _call_ms(engine, batch)
    for _ in range(WARM_UP_CALLS):
        engine.infer(batch)
    began_s, began_cpu_s, calls_ms = time.perf_counter(), time.process_time(), list[float]()
    while len(calls_ms) < LEAST_CALLS or time.perf_counter() < began_s + seconds:
        calls_ms.append(_call_ms(engine, batch))
    took_s, took_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    frames = len(batch) * len(calls_ms)
    p50_ms, p99_ms = np.percentile(calls_ms, (50, 99))
    return {
        "batch": len(batch), "calls": len(calls_ms), "frames_per_s": frames / took_s, "first_ms": first_ms,
        "call_ms_p50": float(p50_ms), "call_ms_p99": float(p99_ms), "cpu_ms_per_frame": 1e3 * took_cpu_s / frames,
    }  # fmt: skip


def answer_all(engine: Engine, samples: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The first output for all samples (N, classes), asked in batches of ``size``; the last may be smaller."""
    parts: Sequence[NDArray[Any]] = [
        next(iter(engine.infer(samples[at : at + size]).values())) for at in range(0, len(samples), size)
    ]
    return np.concatenate(parts).astype(np.float32)


def used_on_gpu_mib() -> float | None:
    """Memory of the GPU in use by all programs, MiB; None without one. The context of the driver counts too."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", _gpu()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return float(done.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _gpu() -> str:
    """The driver's name of the first GPU that programs may use."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"


def _memory(before_mib: float | None) -> dict[str, float | None]:
    now_mib = used_on_gpu_mib()
    of_gpu = None if now_mib is None or before_mib is None else now_mib - before_mib
    return {"gpu_mib": of_gpu, "pss_mib": psutil.Process().memory_full_info().pss / 2**20}


def _call_ms(engine: Engine, batch: NDArray[np.float32]) -> float:
    began_s = time.perf_counter()
    engine.infer(batch)
    return 1e3 * (time.perf_counter() - began_s)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
