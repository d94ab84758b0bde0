"""The bare engine: nothing but inference in a loop, which is what the daemon is compared with.

``python -m edge_runtime.bench.bare ORDER.json`` is a process of its own, as the daemon is; it prints one JSON object.
It answers one tensor a call, as a daemon without batching does. Called by ``rounds``.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from edge_runtime.app.models import engine_settings
from edge_runtime.bundle.opening import engine_of
from edge_runtime.bundle.verify import load_bundle
from edge_runtime.config import load_config
from edge_runtime.engines.base import Engine
from edge_runtime.engines.threads import ThreadPlan
from edge_runtime.messages import Frame, Rejected
from edge_runtime.preprocess import Preprocessor

MODEL = "bench"
WARM_UP_CALLS = 5


def main(order_path: Path) -> int:
    """Do what the order says: ``{"config", "pictures", "intra", "callers", "seconds", "fps"}``."""
    order = json.loads(order_path.read_text())
    config = load_config(Path(order["config"]), {})
    bundle = load_bundle(config.bundle_root(MODEL))
    plan = ThreadPlan(order["intra"], order["callers"], "bench")
    engine = engine_of(bundle, plan, engine_settings(config, MODEL))
    preprocessor = Preprocessor(bundle.manifest.preprocess)
    tensors = []
    for path in order["pictures"]:
        sample = preprocessor.prepare(Frame("bench", 0, Path(path), 0.0, 0.0))
        if not isinstance(sample, Rejected):
            tensors.append(sample.tensor[np.newaxis])
    sys.stdout.write(json.dumps(looped(engine, tensors, order["callers"], order["seconds"], order["fps"])))
    return 0


def looped(
    engine: Engine, tensors: list[np.ndarray[Any, Any]], callers: int, seconds: float, fps: float | None
) -> dict[str, Any]:
    """Frames a second, milliseconds a call and CPU a frame of ``callers`` threads that share one engine.

    Args:
        engine: Warm.
        tensors: Prepared samples (1, ...), taken in turn.
        callers: Threads.
        seconds: How long.
        fps: Calls a second of each thread; None goes on at once.
    """
    latencies_ms: list[list[float]] = [[] for _ in range(callers)]
    for number in range(WARM_UP_CALLS):
        engine.infer(tensors[number % len(tensors)])
    gate = threading.Barrier(callers + 1)
    ends_at_s = [0.0]

    def call(own: list[float]) -> None:
        gate.wait()
        began_s, number = time.perf_counter(), 0
        while (now_s := time.perf_counter()) < ends_at_s[0]:
            if fps is not None and (wait_s := began_s + number / fps - now_s) > 0:
                time.sleep(wait_s)
            before_s = time.perf_counter()
            engine.infer(tensors[number % len(tensors)])
            own.append((time.perf_counter() - before_s) * 1000)
            number += 1

    threads = [threading.Thread(target=call, args=(own,)) for own in latencies_ms]
    for thread in threads:
        thread.start()
    process = psutil.Process()
    cpu_before, began_s = process.cpu_times(), time.perf_counter()
    ends_at_s[0] = began_s + seconds
    gate.wait()
    for thread in threads:
        thread.join()
    took_s, cpu = time.perf_counter() - began_s, process.cpu_times()
    every = [ms for own in latencies_ms for ms in own]
    used_s = cpu.user + cpu.system - cpu_before.user - cpu_before.system
    memory = process.memory_full_info()
    return {
        "frames_per_s": len(every) / took_s,
        "infer_ms": every,
        "cpu_ms_per_frame": 1000 * used_s / max(1, len(every)),
        "pss_mib": memory.pss / 2**20,
        "runs_on": engine.runs_on,
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
