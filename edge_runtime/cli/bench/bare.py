"""The bare engine: nothing but inference in a loop, with or without the preparation, to compare the daemon with.

``python -m edge_runtime.cli.bench.bare ORDER.json`` is a child process, as the daemon is; it prints one JSON
object. It answers one input a call, as a daemon without batching does.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import load_config
from edge_runtime.datatypes import Frame, Rejected
from edge_runtime.deployment.open_bundle import find_engine_settings
from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.threads import ThreadPlan, bind_this_thread
from edge_runtime.inference.preprocess import Preprocessor, make_preprocessor

MODEL = "bench"
WARM_UP_CALLS = 5


def main(order_path: Path) -> int:
    """Do what the order says: ``{"config", "inputs", "intra", "callers", "seconds", "fps", "prepares"}``.

    With ``prepares`` every call also reads and prepares its file, as the daemon must. With ``cpus``, and where the
    configuration binds threads, callers and engine are bound to them as the daemon's are.
    """
    order = json.loads(order_path.read_text())
    config = load_config(Path(order["config"]), {})
    bundle = load_bundle(config.bundle_root(MODEL))
    plan = ThreadPlan(order["intra"], order["callers"], "bench", tuple(order.get("cpus", ())))
    settings = find_engine_settings(config, MODEL)
    engine = open_bundle_engine(bundle, plan, settings)
    preprocessor = make_preprocessor(bundle.manifest.preprocess)
    paths = [Path(path) for path in order["inputs"]]
    tensors = [prepare_file(preprocessor, path) for path in paths]

    prepares = order["prepares"]

    def step(number: int) -> None:
        at = number % len(paths)
        engine.infer(prepare_file(preprocessor, paths[at]) if prepares else tensors[at])

    places = [plan.cpus_of(caller) if settings.pin_threads else () for caller in range(plan.workers)]
    found = run_calls(step, order["callers"], order["seconds"], order["fps"], places)
    sys.stdout.write(json.dumps({**found, "runs_on": engine.runs_on}))
    return 0


def prepare_file(preprocessor: Preprocessor, path: Path) -> NDArray[np.float32]:
    """The picture or window of a file as a batch of one.

    Raises:
        EngineError: it cannot be used.
    """
    sample = preprocessor.prepare(Frame("bench", 0, path, 0.0, 0.0))
    if isinstance(sample, Rejected):
        raise EngineError(f"{path}: {sample.reason} ({sample.detail})")
    return sample.tensor[np.newaxis]


def run_calls(
    step: Callable[[int], None],
    callers: int,
    seconds: float,
    fps: float | None,
    places: Sequence[tuple[int, ...]] = (),
) -> dict[str, Any]:
    """Frames a second, milliseconds a call and CPU a frame of ``callers`` threads.

    ``step`` is one frame and gets the number of the call. ``fps`` is of each thread; None goes on at once. ``places``
    are the CPUs that each thread is bound to; an empty tuple leaves it to the kernel, as no places do all.
    """
    latencies_ms: list[list[float]] = [[] for _ in range(callers)]
    for number in range(WARM_UP_CALLS):
        step(number)
    gate = threading.Barrier(callers + 1)
    ends_at_s = [0.0]

    def call(own: list[float], place: tuple[int, ...]) -> None:
        if place:
            bind_this_thread(place)
        gate.wait()
        began_s, number = time.perf_counter(), 0
        while (now_s := time.perf_counter()) < ends_at_s[0]:
            if fps is not None and (wait_s := began_s + number / fps - now_s) > 0:
                time.sleep(wait_s)
            before_s = time.perf_counter()
            step(number)
            own.append((time.perf_counter() - before_s) * 1000)
            number += 1

    where = places or [()] * callers
    threads = [threading.Thread(target=call, args=pair) for pair in zip(latencies_ms, where, strict=True)]
    for thread in threads:
        thread.start()
    used_before_s, began_s = time.process_time(), time.perf_counter()
    ends_at_s[0] = began_s + seconds
    gate.wait()
    for thread in threads:
        thread.join()
    took_s, used_s = time.perf_counter() - began_s, time.process_time() - used_before_s
    every = [ms for own in latencies_ms for ms in own]
    memory = psutil.Process().memory_full_info()
    return {
        "frames_per_s": len(every) / took_s,
        "call_ms": every,
        "cpu_ms_per_frame": 1000 * used_s / max(1, len(every)),
        "pss_mib": memory.pss / 2**20,
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
