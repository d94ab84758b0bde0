"""Outputs that are numbers of their own: values in their units, and scores of an anomaly. Pure functions of arrays."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Value
from edge_runtime.inference.postprocess.output_flaw import OutputFlaw
from edge_runtime.inference.specs import AnomalySpec, RegressionSpec, RegressionValue

MOST_STRAYS = 0.02
"""Share of the healthy scores; a state of the machine that is seen more often is one of its own."""
FAR = 5.0
"""Times as far above the median as the highest of the others: of 1,000 sets of 128 chi-squared scores one
has such a score by chance."""
LEAST_SCORES = 8


def pick_output(outputs: Mapping[str, NDArray[Any]], name: str | None) -> NDArray[Any]:
    """The output of this name; None takes the only one.

    Raises:
        OutputFlaw: it is not there, or there are several.
    """
    if name is None and len(outputs) != 1:
        raise OutputFlaw(f"outputs {', '.join(sorted(outputs))}; the bundle must name the one to read")
    if name is not None and name not in outputs:
        raise OutputFlaw(f"no output {name}; the model has {', '.join(sorted(outputs))}")
    return next(iter(outputs.values())) if name is None else outputs[name]


def read_values(spec: RegressionSpec, outputs: Mapping[str, NDArray[Any]]) -> tuple[Value, ...]:
    """The values of one sample, in their units.

    Raises:
        OutputFlaw: the output is missing, has another number of values, or one is not finite.
    """
    found = np.asarray(pick_output(outputs, spec.output), np.float64).reshape(-1)
    if found.size != len(spec.values):
        raise OutputFlaw(f"{found.size} numbers for {len(spec.values)} values")
    values = tuple(_in_unit(one, number) for one, number in zip(spec.values, found.tolist(), strict=True))
    if not all(math.isfinite(one.value) for one in values):
        raise OutputFlaw("values are not finite numbers")
    return values


def measure_anomaly(
    spec: AnomalySpec, outputs: Mapping[str, NDArray[Any]], tensor: NDArray[np.float32]
) -> float:
    """The score of one sample; ``tensor`` is the model's input without the batch axis.

    Raises:
        OutputFlaw: the output is missing, has another shape than it must, or the score is not finite.
    """
    found = np.asarray(pick_output(outputs, spec.output), np.float64)
    if spec.score == "reconstruction":
        if found.shape != tensor.shape:
            raise OutputFlaw(f"a reconstruction {found.shape} of an input {tensor.shape}")
        score = float(np.sqrt(np.mean((found - tensor) ** 2)))
    elif found.size != 1:
        raise OutputFlaw(f"{found.size} numbers for one score of an anomaly")
    else:
        score = float(found.reshape(-1)[0])
    if not np.isfinite(score):
        raise OutputFlaw("the score of the anomaly is not a finite number")
    return score


def draw_threshold(spec: AnomalySpec, healthy: Iterable[float]) -> float | None:
    """The threshold: the specified one, or by the scores of healthy samples; None without any of these.

    It is ``median + factor * (quantile - median)``: whatever the origin and the sign of the scores are. A few scores
    far above all others are left out: by one knock among 128 windows nothing would be anomalous any more.
    """
    if spec.threshold is not None:
        return spec.threshold
    scores = np.array(tuple(healthy), np.float64)
    if not scores.size:
        return None
    usual = scores[scores <= _find_highest_usual(scores)]
    middle, high = np.quantile(usual, [0.5, spec.quantile])
    return float(middle + spec.factor * (high - middle))


def count_strays(healthy: Sequence[float]) -> int:
    """How many scores are so far above all others that they count for no threshold."""
    scores = np.array(healthy, np.float64)
    return int((scores > _find_highest_usual(scores)).sum()) if scores.size else 0


def _find_highest_usual(scores: NDArray[np.float64]) -> float:
    """The highest score that is no stray: it follows from those without the few highest.

    Where its highest is their median, such as the zeros of a score that is cut off there, they tell of no spread.
    """
    few = max(1, int(MOST_STRAYS * scores.size))
    rest = np.sort(scores)[:-few]
    if rest.size < LEAST_SCORES:
        return float(scores.max())
    middle = float(np.median(rest))
    if rest[-1] == middle:
        return float(scores.max())
    return middle + FAR * (float(rest[-1]) - middle)


def _in_unit(spec: RegressionValue, number: float) -> Value:
    value = number * spec.scale + spec.offset
    return Value(spec.name, value, spec.unit, _find_limits(spec, value), spec.usual_spread, number)


def _find_limits(spec: RegressionValue, value: float) -> Literal["inside", "below", "above"] | None:
    if spec.low is None and spec.high is None:
        return None
    if spec.low is not None and value < spec.low:
        return "below"
    return "above" if spec.high is not None and value > spec.high else "inside"
