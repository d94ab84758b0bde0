"""The tolerance of a bundle's self-test, found by measuring both sides: harmless noise, and the usual mistakes.

Noise: a third of the pixels off by one level, as another JPEG decoder or CPU would make them; of signals that of a
12-bit converter. Mistakes: swapped channels and the usual wrong scalings. The tolerance lies in the geometric middle,
within 0.02..0.25. A mistake that changes the inputs and not the answers (the model averages the colours, or
standardises its input) does no harm and needs not be noticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundles.compare import Comparison, choose_comparison, measure_difference
from edge_runtime.bundles.manifest import CompareBy
from edge_runtime.bundles.self_test import prepare_golden, run_one
from edge_runtime.bundles.variations import list_normalisation_mistakes
from edge_runtime.errors import BundleError, EngineError
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.postprocess.postprocessor import Meaning, OneOutput
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec

_SEPARATION = 3.0
"""Mistakes must change the outputs this much more than noise does, or golden pictures tell nothing."""
_SLIGHT = 0.05  # two specs whose tensors differ less are the same for every purpose (mean 127 and 127.5)
_ADC_STEP = 2.0**-12  # of a sensor that digitises its whole range in 12 bits
_TOLERANCES = (0.02, 0.25)
_NOTHING = 1e-3  # of an answer, as between two libraries
_NOISE_WORDS = {
    "picture": "One level of noise in a third of the pixels",
    "window": "The noise of a 12-bit converter",
}
_LOUD = 0.1  # a model that is sure of a picture changes far less by one level of noise


@dataclass(slots=True)
class _Answers:
    """The engine's answers to every golden picture: as it is, with noise, and prepared wrongly."""

    right: list[OneOutput] = field(default_factory=list)
    nudged: list[OneOutput] = field(default_factory=list)
    wrong: dict[str, list[OneOutput | None]] = field(default_factory=dict)
    """None: the model refuses such a picture, so the mistake does not go unnoticed."""
    changes_inputs: dict[str, bool] = field(default_factory=dict)


def measure_tolerance(
    meaning: Meaning, given: float | None, golden: Mapping[str, bytes], engine: Engine
) -> tuple[float, CompareBy]:
    """The difference that separates harmless noise from mistakes, and how a bundle's self-test compares.

    ``golden`` has encoded pictures by name; ``given`` is the tolerance that the author chose, None measures it.

    Raises:
        BundleError: a mistake would hardly show on any of the pictures.
    """
    answers = _run_variants(meaning.preprocess, golden, engine)
    ways: list[CompareBy] = ["outputs"]
    if meaning.postprocess.task == "detection":
        # without an object on the golden pictures their detections say nothing
        nothing = {name: np.zeros_like(array) for name, array in answers.right[0].items()}
        compare = choose_comparison("detections", meaning, answers.right)
        if any(compare(nothing, right) > 0 for right in answers.right):
            ways.append("detections")
    compares = [choose_comparison(way, meaning, answers.right) for way in ways]
    if given is not None:
        quietest = min(compares, key=lambda compare: _noise(compare, answers))
        return given, quietest.by
    refusals = []
    for compare in compares:
        found = _separating(compare, answers)
        if not isinstance(found, BundleError):
            return found, compare.by
        refusals.append(found)
    raise refusals[0]


def _run_variants(spec: PreprocessSpec, golden: Mapping[str, bytes], engine: Engine) -> _Answers:
    rng, answers = np.random.default_rng(0), _Answers()
    alike = set[str]()
    for name, picture in golden.items():
        sample = prepare_golden(spec, f"golden/{name}", picture)
        answers.right.append(run_one(engine, sample.tensor))
        assert sample.values is not None, "golden inputs are pictures or windows"
        nudged = _nudge(sample.values, spec, rng)
        answers.nudged.append(run_one(engine, make_preprocessor(spec).normalise(nudged)))
        for mistake, other in list_normalisation_mistakes(spec):
            wrong = prepare_golden(other, f"golden/{name}", picture).tensor
            is_slight = measure_difference({"": wrong}, {"": sample.tensor}) < _SLIGHT
            if is_slight and other.is_bgr == spec.is_bgr:
                alike.add(mistake)
                continue
            answers.changes_inputs[mistake] = answers.changes_inputs.get(mistake, False) or not is_slight
            answers.wrong.setdefault(mistake, []).append(_run_or_none(engine, wrong))
    for mistake in alike:
        answers.wrong.pop(mistake, None)
    return answers


def _nudge(values: NDArray[Any], spec: PreprocessSpec, rng: np.random.Generator) -> NDArray[Any]:
    """As another box would prepare it: a level more or less here and there, or the noise of a 12-bit converter."""
    if isinstance(spec, SignalSpec):
        spread = np.array([[channel.std] for channel in spec.channels])
        span = np.maximum(np.ptp(values, axis=1, keepdims=True), spread)
        return np.asarray(values + _ADC_STEP * span * rng.uniform(-1, 1, values.shape), np.float32)
    steps = rng.choice(np.array([-1, 0, 0, 0, 0, 1]), size=values.shape)
    return np.asarray(np.clip(values.astype(np.int16) + steps, 0, 255), np.uint8)


def _run_or_none(engine: Engine, tensor: NDArray[np.float32]) -> OneOutput | None:
    """The answer, or None when the model refuses the picture (a check of values in it, for one)."""
    try:
        return run_one(engine, tensor)
    except EngineError:
        return None


def _noise(compare: Comparison, answers: _Answers) -> float:
    return max(compare(nudged, right) for nudged, right in zip(answers.nudged, answers.right, strict=True))


def _separating(compare: Comparison, answers: _Answers) -> float | BundleError:
    """The tolerance, or why there is none."""
    noise = _noise(compare, answers)
    effects = {
        mistake: max(
            inf if wrong is None else compare(wrong, right)
            for wrong, right in zip(wrongs, answers.right, strict=True)
        )
        for mistake, wrongs in answers.wrong.items()
    }
    low, high = _TOLERANCES
    telling = {
        mistake: effect
        for mistake, effect in effects.items()
        if not (answers.changes_inputs[mistake] and noise <= low and effect <= max(noise, _NOTHING))
    }
    mistake, least = min(telling.items(), key=lambda item: item[1], default=("", 1.0))
    if least < _SEPARATION * noise:
        noun, changes_inputs = compare.meaning.preprocess.noun, answers.changes_inputs[mistake]
        return _refusal(noun, mistake, least, noise, changes_inputs)
    return round(float(np.clip(np.sqrt(max(noise, 1e-6) * least), low, high)), 4)


def _refusal(noun: str, mistake: str, least: float, noise: float, changes_inputs: bool) -> BundleError:
    found = f"{mistake} changes the outputs by only {least:.3g} on these golden {noun}s (noise: {noise:.3g})"
    if not changes_inputs:
        advice = "The pictures are nearly grey: take more colourful and more different golden pictures."
    elif noise > _LOUD:
        advice = (
            f"{_NOISE_WORDS[noun]} changes the answers by {noise:.2g}, so the model is unsure of them: take golden "
            f"{noun}s of what it was made for."
        )
    else:
        which = "more colourful and more different" if noun == "picture" else "more different from each other"
        advice = f"Take golden {noun}s of what the model was made for, {which}."
    chosen = float(np.clip(2 * noise, _TOLERANCES[0], 1))
    way_out = f"If there are none, write tolerance: {chosen:.2g} into the recipe; then such a mistake goes unnoticed."
    return BundleError("golden", found, f"at least {_SEPARATION * noise:.3g}", f"{advice} {way_out}")
