"""The int8 model against the float one it was made from, on ONNX Runtime: ``benchmarks run int8``.

Speed is CPU time of a call with one thread, in turns within one process; accuracy was measured when the bundle was
built and stands in its manifest. The float model is exported again from the published weights (extra ``build``).
"""

import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.performance.bare_runs import BUNDLE, Report
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.inference.engines.onnx_engine import OnnxEngine

CALLS = 25


def measure(*, rounds: int, float_model: Path | None = None, bundle: Path = BUNDLE) -> Report:
    """CPU milliseconds a call of both with one thread, in turns, and their accuracies.

    Args:
        rounds: Turns of ``CALLS`` calls each.
        float_model: An ONNX file; None exports it.
        bundle: The int8 one.
    """
    opened = load_bundle(bundle)
    try:
        data = _exported() if float_model is None else float_model.read_bytes()
    except ModuleNotFoundError as err:
        return {"unavailable": f"{err.name} is not installed; it comes with the extra 'build'"}
    whole, small = OnnxEngine(data), OnnxEngine(opened.model_files.data)
    picture = (
        np.random.default_rng(0).normal(size=(1, *opened.manifest.preprocess.tensor_shape)).astype(np.float32)
    )
    for engine in (whole, small):
        _call_ms(engine, picture)
    found = [
        {"float_ms": _call_ms(whole, picture), "int8_ms": _call_ms(small, picture)} for _ in range(rounds)
    ]
    provenance = opened.manifest.provenance
    measured = [] if provenance is None else [one.model_dump() for one in provenance.measured]
    return {"rounds": found, "measured": measured}


def _exported() -> bytes:
    from edge_runtime.bundles.build.export import export_onnx
    from examples.efficientnet_lite0 import SIDE, load_weights, make_net

    net = make_net()
    net.load_state_dict(load_weights())
    return export_onnx(net.eval(), (3, SIDE, SIDE)).data


def _call_ms(engine: OnnxEngine, picture: np.ndarray) -> float:
    took = []
    for _ in range(CALLS):
        began_s = time.thread_time()  # with one thread it is the caller's own; neighbours do not count
        engine.infer(picture)
        took.append(1000 * (time.thread_time() - began_s))
    return statistics.median(took)
