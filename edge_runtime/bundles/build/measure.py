"""A quantized model compared with the float model it came from: accuracy, agreement, milliseconds.

With labels accuracy is counted. Without, its loss is estimated: on each picture the float model believes in its own
first class with probability p and in the quantized model's first class with q <= p; the mean of p - q is what the
change of answers costs if the float model's probabilities are right. An overconfident float model makes the
estimate stricter, an underconfident one laxer. Plain agreement says less: EfficientNet-Lite0 loses no accuracy
(0.705 -> 0.707 on 566 labelled pictures) with an agreement of 0.93 there and 0.90 on other pictures,
because the answers that change are those the float model was unsure of. Scores that do not share out one whole (one
score, or several labels at a time) say yes or no each by itself, at 0.5. The first class says nothing then: of one
class it is always the same. On each picture the dearest decision that turned counts (it costs p - (1 - p) of the
float model's belief p), and so does the score that changed most, since consumers compare scores with thresholds.
"""

import platform
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.targets.cpu_flags import read_cpuinfo
from edge_runtime.bundles.compare import RECIPE_FIX, Outputs, compare_boxes, read_all_boxes
from edge_runtime.bundles.manifest import Measured
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.postprocess.numbers import measure_anomaly, read_values
from edge_runtime.inference.postprocess.output_flaw import OutputFlaw
from edge_runtime.inference.postprocess.postprocessor import OneOutput, as_probabilities
from edge_runtime.inference.specs import (
    AnomalySpec,
    ClassificationSpec,
    DetectionSpec,
    PostprocessSpec,
    PreprocessSpec,
    RawSpec,
    RegressionSpec,
)

_BATCH = 8
_TIMED = 30  # pictures; the median of 30 is within a few per cent on a quiet machine
_YES = 0.5
_ROUNDING = 1e-2  # of a sum of shares


def compare_engines(
    spec: PreprocessSpec,
    meaning: PostprocessSpec,
    engines: tuple[Engine, Engine],
    on: str,
    x: NDArray[np.float32],
    y: NDArray[np.int64] | None = None,
) -> Measured:
    """Compare the second engine with the first, the float one, on the same pictures.

    ``x`` are prepared pictures, float32 (N, ...) in the model's layout, ``y`` their classes, int64 (N,), and ``on``
    says in words what they are. Each engine has one thread.

    Raises:
        BundleError: the outputs are not what ``meaning`` says, or a detector finds nothing to compare.
    """
    float_outputs, outputs = (run_all(engine, x) for engine in engines)
    facts: dict[str, float | None] = {}
    match meaning:
        case ClassificationSpec():
            one, other = (read_probabilities(meaning, found) for found in (float_outputs, outputs))
            facts |= _of_one_class(one, other, y) if are_exclusive(one) else _of_each_class(one, other, y)
        case DetectionSpec():
            boxes = (read_all_boxes(meaning, found, spec.size) for found in (float_outputs, outputs))
            facts["agreement"] = compare_boxes(*boxes)
        case RegressionSpec():
            numbers = (split_values(meaning, found) for found in (float_outputs, outputs))
            facts["agreement"] = measure_shared_variance(*numbers)
        case AnomalySpec():
            scores = (score_all(meaning, found, x) for found in (float_outputs, outputs))
            facts["agreement"] = measure_shared_variance(*scores)
        case RawSpec():
            facts["agreement"] = measure_shared_variance(float_outputs, outputs)
    times = dict(zip(("float_infer_ms", "infer_ms"), measure_times_ms(engines, x), strict=True))
    rounded = {name: None if value is None else round(value, 4) for name, value in facts.items()}
    return Measured(on=on, samples=len(x), machine=name_processor(), **rounded, **times)


def run_all(engine: Engine, x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Run all pictures; outputs by name, the first axis is the picture."""
    parts = [engine.infer(x[at : at + _BATCH]) for at in range(0, len(x), _BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measure_times_ms(engines: tuple[Engine, ...], x: NDArray[np.float32]) -> tuple[float, ...]:
    """Median milliseconds a picture of each engine, run in turn so that a busy machine is slow for all alike."""
    spent: list[list[float]] = [[] for _ in engines]
    for i in range(_TIMED):
        picture = x[i % len(x)][np.newaxis]
        for engine, times in zip(engines, spent, strict=True):
            started_s = time.perf_counter()
            engine.infer(picture)
            times.append((time.perf_counter() - started_s) * 1000)
    return tuple(round(float(np.median(times)), 3) for times in spent)


def read_probabilities(meaning: ClassificationSpec, outputs: Outputs) -> NDArray[np.float64]:
    """(N,K) class probabilities.

    Raises:
        BundleError: no such output.
    """
    name = meaning.output or next(iter(outputs))
    if name not in outputs:
        raise BundleError("postprocess", f"no output {name}", f"one of: {', '.join(outputs)}", RECIPE_FIX)
    scores = np.asarray(outputs[name], np.float64)
    return as_probabilities(meaning.scores, scores.reshape(len(scores), -1))


def split_values(meaning: RegressionSpec, outputs: Outputs) -> Outputs:
    """By name, the numbers (N,) of each value: each is compared by its own spread.

    Raises:
        BundleError: the output is missing or has another number of values.
    """
    try:
        rows = [read_values(meaning, one) for one in each_sample(outputs)]
    except OutputFlaw as flaw:
        raise BundleError("postprocess", str(flaw), "an output as it says", RECIPE_FIX) from flaw
    return {one.name: np.array([row[i].value for row in rows]) for i, one in enumerate(meaning.values)}


def score_all(meaning: AnomalySpec, outputs: Outputs, x: NDArray[np.float32]) -> Outputs:
    """The scores (N,) of N prepared samples.

    Raises:
        BundleError: the output is missing or misshapen.
    """
    try:
        pairs = zip(each_sample(outputs), x, strict=True)
        return {"score": np.array([measure_anomaly(meaning, one, tensor) for one, tensor in pairs])}
    except OutputFlaw as flaw:
        raise BundleError("postprocess", str(flaw), "an output as it says", RECIPE_FIX) from flaw


def each_sample(outputs: Outputs) -> Iterator[OneOutput]:
    """The outputs of one sample after the other."""
    for i in range(len(next(iter(outputs.values())))):
        yield {name: array[i] for name, array in outputs.items()}


def are_exclusive(shares: NDArray[np.float64]) -> bool:
    """Whether the scores (N,K) share out one whole, so that one class is meant; else each class is a question."""
    sums = shares.sum(axis=1)
    return shares.shape[1] > 1 and bool((np.abs(sums - 1) <= _ROUNDING).all())


def _of_one_class(
    one: NDArray[np.float64], other: NDArray[np.float64], y: NDArray[np.int64] | None
) -> dict[str, float | None]:
    """The figures for scores of which the largest is the answer."""
    rows, first = np.arange(len(one)), [shares.argmax(axis=1) for shares in (one, other)]
    lost = np.mean(one[rows, first[0]] - one[rows, first[1]])
    facts: dict[str, float | None] = {
        "agreement": float(np.mean(first[0] == first[1])),
        "estimated_loss": float(np.clip(lost, 0, 1)),
    }
    if y is not None:
        facts |= {"float_accuracy": float(np.mean(first[0] == y)), "accuracy": float(np.mean(first[1] == y))}
    return facts


def _of_each_class(
    one: NDArray[np.float64], other: NDArray[np.float64], y: NDArray[np.int64] | None
) -> dict[str, float | None]:
    """The figures for scores that say yes or no each by itself; a label is found when its score says yes."""
    said = [shares >= _YES for shares in (one, other)]
    has_turned = said[0] != said[1]
    cost = np.where(has_turned, np.abs(2 * one - 1), 0).max(axis=1)
    facts: dict[str, float | None] = {
        "agreement": float(np.mean(~has_turned.any(axis=1))),
        "estimated_loss": float(np.clip(cost.mean(), 0, 1)),
        "score_change": float(np.clip(np.abs(other - one).max(axis=1).mean(), 0, 1)),
    }
    if y is not None:
        rows = np.arange(len(y))
        found = [float(np.mean(yes[rows, y])) for yes in said]
        facts |= {"float_accuracy": found[0], "accuracy": found[1]}
    return facts


def measure_shared_variance(one: Outputs, other: Outputs) -> float:
    """Least share of an output's variance that both models have in common, 0..1."""
    shares = []
    for name, array in one.items():
        wanted, found = np.asarray(array, np.float64), np.asarray(other[name], np.float64)
        spread = float(np.mean((wanted - wanted.mean()) ** 2))
        shares.append(1 - float(np.mean((found - wanted) ** 2)) / max(spread, 1e-12))
    return float(np.clip(min(shares), 0, 1))


def name_processor() -> str:
    """The processor's name where the system says it, else its architecture."""
    lines = read_cpuinfo().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] != "unknown" else platform.machine()
