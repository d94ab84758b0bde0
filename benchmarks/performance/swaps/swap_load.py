"""Hot swaps under load in one process: ``swap_load ORDER.json`` prints one JSON object.

A real pipeline with the real engine; generations are changed as the daemon does it, by ``Deployment``: the patched
model is read from the model's state folder, checked, loaded, warmed and put in between two batches.
"""

import json
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.daemon.wiring.models import build_engine
from edge_runtime.datatypes import Frame, Generation, Result
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.open_bundle import OpenedModel
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.engines.factory import DEFAULTS
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.scheduler import BatchPolicy, BatchScheduler
from edge_runtime.system.heap import share_one_arena

PATCHES = ("p1", "p2")
"""Put there by ``hot_swap``, so that what makes patches is not in this process's memory."""


def main(order_path: Path) -> int:
    """Do ``{"bundle", "state", "pictures", "swaps", "fps", "pause_s"}``; ``fps`` None is flat out without dropping."""
    share_one_arena()  # as the daemon does
    order = json.loads(order_path.read_text())
    bundle = load_bundle(Path(order["bundle"]))
    model_state = ModelState.open(Path(order["state"]), "bench")
    sys.stdout.write(json.dumps(Loaded(bundle, model_state, order).run(order["swaps"], order["pause_s"])))
    return 0


class Loaded:
    """The pipeline, the threads that feed and drive it, and what they saw."""

    def __init__(self, bundle: Bundle, model_state: ModelState, order: dict[str, Any]) -> None:
        plan = ThreadPlan(1, 1, "bench")
        base = Rollout(Generation(bundle.id))
        opened = OpenedModel(bundle, bundle.model_files, plan, DEFAULTS, open_bundle_engine(bundle, plan))
        slot = EngineSlot(base.active, opened.engine)
        self._generations = Deployment(base, slot, model_state, partial(build_engine, opened))
        self._pictures, self._fps = [Path(path) for path in order["pictures"]], order["fps"]
        self._results: list[tuple[float, float, str]] = []
        """When, inference milliseconds, generation."""
        self._accepted = self._errors = 0
        self._stop, self._fed = threading.Event(), threading.Event()
        policy = BatchPolicy(max_batch_size=1, max_queue_delay_s=0.0, max_age_s=1e9, queue_limit=4)
        self._pipeline = Pipeline(
            device="bench", model="bench", preprocessor=make_preprocessor(bundle.manifest.preprocess),
            scheduler=BatchScheduler(policy), slot=slot, postprocessor=Postprocessor(bundle.manifest, bundle.labels),
            deliver=self._deliver, observer=None, on_engine_error=self._on_error, clock=time.monotonic,
            reject=lambda *_: None,
        )  # fmt: skip

    def run(self, swaps: int, pause_s: float) -> dict[str, Any]:
        """So many swaps with a pause before each; then as long without any, to compare with."""
        threads = [threading.Thread(target=work) for work in (self._feed, self._infer)]
        for thread in threads:
            thread.start()
        self._stop.wait(2.0)
        self._results.clear()
        began_s, memory, swap_ms = time.monotonic(), [(0, _pss_mib())], []
        dropped_before = self._pipeline.scheduler.counters.dropped_oldest
        for number in range(swaps):
            self._stop.wait(pause_s)
            before_s = time.monotonic()
            self._generations.activate(PATCHES[number % 2])
            swap_ms.append(1000 * (time.monotonic() - before_s))
            if number + 1 in (1, 10, 20, 50, 100, 150, 200):
                memory.append((number + 1, _pss_mib()))
        ended_s, dropped = time.monotonic(), self._pipeline.scheduler.counters.dropped_oldest
        self._stop.wait(min(10.0, ended_s - began_s))
        self._stop.set()
        for thread in threads:
            thread.join()
        counts = self._pipeline.metrics.stream("bench")
        return {
            "accepted": self._accepted,
            "results": counts.results,
            "rejected": sum(counts.rejected.values()),
            "engine_errors": self._errors,
            "overloaded": self._pipeline.scheduler.counters.dropped_oldest,
            "overloaded_swapping": dropped - dropped_before,
            "generations": len({generation for _, _, generation in self._results}),
            "call_ms_swapping": [ms for at_s, ms, _ in self._results if at_s <= ended_s],
            "call_ms_alone": [ms for at_s, ms, _ in self._results if at_s > ended_s],
            "swap_ms": swap_ms,
            "pss_mib": memory,
        }

    def _feed(self) -> None:
        number, began_s = 0, time.monotonic()
        while not self._stop.is_set():
            if self._fps is not None:
                self._stop.wait(max(0.0, began_s + number / self._fps - time.monotonic()))
            frame = Frame(
                "bench", number, self._pictures[number % len(self._pictures)], time.monotonic(), time.time()
            )
            self._pipeline.accept(frame, is_live=self._fps is not None, stop=threading.Event())
            self._accepted += 1
            number += 1
        self._fed.set()

    def _infer(self) -> None:
        while not (self._fed.is_set() and self._pipeline.is_empty()):
            self._pipeline.step(timeout_s=0.1)

    def _deliver(self, result: Result) -> None:
        self._results.append((time.monotonic(), result.timings.infer, result.generation))

    def _on_error(self, _: Exception) -> None:
        self._errors += 1


def _pss_mib() -> float:
    return float(psutil.Process().memory_full_info().pss / 2**20)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
