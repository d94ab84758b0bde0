"""Float models -> measured int8 candidates, and the choice among them.

ONNX is quantized by ONNX Runtime (QDQ), IR by NNCF. The pictures they are calibrated on are not those they are
compared on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from calibration.targets.base import ModelFiles
from calibration.targets.safe_form.onnx_wire import read_onnx
from edge_runtime.bundles.build.measure import compare_engines, name_processor
from edge_runtime.bundles.build.recipe_file import Quantization, QuantizationLimits
from edge_runtime.bundles.build.refusals import FormatAttempts, refuse_own_model
from edge_runtime.bundles.manifest import Measured
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.parts import parts_of
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.preprocess.input_files import Noun
from edge_runtime.inference.specs import PostprocessSpec, PreprocessSpec
from edge_runtime.system.milliseconds import format_ms
from edge_runtime.system.model_formats import ModelFormat

ALONE = ThreadPlan(1, 1, "bundle build")
LEAST_PICTURES = 24
"""Two thirds calibrate, a third compares; with fewer neither says anything."""

KEEP_FLOAT = (
    "Keep the layers that suffer in float (keep_float, with regular expressions for their names: often the first and "
    "the last ones), keep the whole model float (quantize: none)"
)
"""Remedies for what quantization did."""

_EVERY = 3
_CHANCE_MS = 0.1  # what a call costs more or less by chance: all there is to see of a tiny model
_ALIKE = 0.005  # half a point: less is chance on a few hundred pictures, so speed decides


@dataclass(frozen=True, slots=True)
class ModelCandidate:
    """A model that might go into the bundle, running on one thread."""

    format: ModelFormat
    model: ModelFiles
    engine: Engine
    measured: tuple[Measured, ...] = ()
    noun: Noun = "picture"
    """Name of one input in messages."""

    @property
    def loss(self) -> float:
        """Accuracy lost against the float model, 0..1: counted, else estimated, else the share of other answers."""
        [first, *_] = self.measured
        estimated = 1 - (first.agreement or 0.0) if first.estimated_loss is None else first.estimated_loss
        for found in self.measured:
            if found.accuracy is not None and found.float_accuracy is not None:
                counted = found.float_accuracy - found.accuracy
                # Labels name one class a picture and say nothing of the others' scores, which may be ruined.
                return counted if found.score_change is None else max(counted, estimated)
        return estimated

    @property
    def is_classifier(self) -> bool:
        """Whether a loss of accuracy was estimated: its outputs are class scores."""
        return any(m.estimated_loss is not None for m in self.measured)

    @property
    def score_change(self) -> float:
        """How far independent scores moved; 0 for models with one class a picture."""
        return max((m.score_change for m in self.measured if m.score_change is not None), default=0.0)

    @property
    def infer_ms(self) -> float:
        """Median time of a picture."""
        return min((m.infer_ms for m in self.measured if m.infer_ms is not None), default=float("inf"))

    @property
    def time_over_float(self) -> float:
        """Its time over the float model's where it did best; 0 where that was not measured, or is too small to say."""
        pairs = ((m.infer_ms, m.float_infer_ms) for m in self.measured)
        ratios = [(own - _CHANCE_MS) / other for own, other in pairs if own is not None and other]
        return max(0.0, min(ratios, default=0.0))


@dataclass(frozen=True, slots=True)
class Pictures:
    """Prepared pictures or windows, float32 (N, ...) in the model's layout."""

    calibration: NDArray[np.float32]
    labelled: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
    """With their classes, int64 (N,)."""

    @property
    def to_quantize(self) -> NDArray[np.float32]:
        """Two of three."""
        taken: NDArray[np.float32] = self.calibration[np.arange(len(self.calibration)) % _EVERY != _EVERY - 1]
        return taken

    @property
    def held_out(self) -> NDArray[np.float32]:
        """Every third."""
        return self.calibration[_EVERY - 1 :: _EVERY]


def open_candidate(model_format: ModelFormat, model: ModelFiles, spec: PreprocessSpec) -> ModelCandidate:
    """The model with an engine on one thread.

    Raises:
        EngineError: it does not run.
    """
    engine = open_engine(model, model_format, spec.tensor_shape, ALONE, parts=parts_of(spec))
    return ModelCandidate(model_format, model, engine, noun=spec.noun)


def quantize_candidates(
    floats: Sequence[ModelCandidate],
    spec: PreprocessSpec,
    meaning: PostprocessSpec,
    pictures: Pictures,
    how: Quantization,
    attempts: FormatAttempts,
) -> Iterator[ModelCandidate]:
    """Quantize each float model and measure both; ``attempts`` notes those that fail.

    Raises:
        BundleError: too few pictures, or all of them are quantized already, or refused by their quantizers.
    """
    has_any = False
    if len(pictures.calibration) < LEAST_PICTURES:
        found = f"{len(pictures.calibration)} {spec.noun}s"
        fix = f"Take 100 to 300 {spec.noun}s like those on the box, or quantize: none."
        raise BundleError("calibration", found, f"at least {LEAST_PICTURES} to quantize with", fix)
    for candidate in floats:
        finished: ModelCandidate | None = None
        with attempts.trying(candidate.format):
            _require_float(candidate)
            model = _quantized(candidate, pictures.to_quantize, how)
            with refuse_own_model(f"as int8 {candidate.format}"):
                int8 = open_candidate(candidate.format, model, spec)
            compare = partial(compare_engines, spec, meaning, (candidate.engine, int8.engine))
            measured = [compare(f"held-out calibration {spec.noun}s", pictures.held_out)]
            if pictures.labelled is not None:
                measured.append(compare(f"labelled {spec.noun}s", *pictures.labelled))
            finished = replace(int8, measured=tuple(measured))
        if finished is not None:
            has_any = True
            yield finished
    if not has_any:
        raise attempts.refusal()


def choose_candidate(
    candidates: Sequence[ModelCandidate], limits: QuantizationLimits, calibrated_on: int
) -> ModelCandidate:
    """The best that keeps the limits: the fastest of those that lose the least, give or take half a point.

    One that is measurably slower than the float model it came from keeps none: nothing is gained for what it loses.

    Raises:
        BundleError: none keeps them; has the figures.
    """
    allowed_loss = limits.accuracy_points / 100 if candidates[0].is_classifier else 1 - limits.agreement
    good = [
        candidate for candidate in candidates
        if candidate.loss <= allowed_loss + 1e-9 and candidate.score_change <= limits.score_change + 1e-9
    ]  # fmt: skip
    figures = "; ".join(f"{candidate.format} int8 {describe_figures(candidate)}" for candidate in candidates)
    if not good:
        fix = (
            f"{KEEP_FLOAT}, calibrate with more like those on the box ({calibrated_on} were used), "
            "or raise limits if this is good enough."
        )
        expected = _limit_words(candidates[0], limits)
        raise BundleError("quantize", f"int8 loses too much: {figures}", expected, fix)
    quick = [candidate for candidate in good if candidate.time_over_float <= limits.time_over_float]
    if not quick:
        fix = (
            "Take quantize: none, or another of the formats. For a box with other instructions than this machine, "
            "or for the size of the file, raise limits.time_over_float."
        )
        expected = f"at most {limits.time_over_float:g} of the float model's time on this machine ({name_processor()})"
        raise BundleError("quantize", f"int8 is slower than float: {figures}", expected, fix)
    least = min(candidate.loss for candidate in quick)
    return min((one for one in quick if one.loss <= least + _ALIKE), key=lambda one: one.infer_ms)


def describe_figures(candidate: ModelCandidate) -> str:
    """The figures of a candidate for a person."""
    parts, noun = [], candidate.noun
    for found in candidate.measured:
        if found.accuracy is not None:
            parts.append(
                f"accuracy {found.accuracy:.3f} (float {found.float_accuracy:.3f}, {found.samples} {noun}s)"
            )
        if found.estimated_loss is not None and found.accuracy is None:
            parts.append(f"an estimated {100 * found.estimated_loss:.1f} points of accuracy lost")
        if found.score_change is not None:
            parts.append(f"scores change by {found.score_change:.3f}")
        if found.agreement is not None:
            parts.append(f"agreement {found.agreement:.3f} on {found.samples} {found.on}")
    fastest = min(candidate.measured, key=lambda m: m.infer_ms or 0, default=None)
    if fastest is not None and fastest.infer_ms is not None:
        before = "" if fastest.float_infer_ms is None else f" (float {format_ms(fastest.float_infer_ms)})"
        parts.append(f"{format_ms(fastest.infer_ms)} ms a {noun}{before}")
    return ", ".join(parts)


def _limit_words(candidate: ModelCandidate, limits: QuantizationLimits) -> str:
    if candidate.is_classifier:
        words = f"at most {limits.accuracy_points:g} points of accuracy lost"
        has_change = any(m.score_change is not None for m in candidate.measured)
        return f"{words} and scores changed by {limits.score_change:g}" if has_change else words
    return f"agreement of at least {limits.agreement:g}"


def _quantized(candidate: ModelCandidate, samples: NDArray[np.float32], how: Quantization) -> ModelFiles:
    if candidate.format == "onnx":
        from edge_runtime.bundles.build.quantize_onnx import fold_batch_norm, quantize_onnx

        folded = fold_batch_norm(candidate.model.data)
        return ModelFiles(quantize_onnx(folded, samples, how))
    from edge_runtime.bundles.build.convert import quantize_ir

    return quantize_ir(candidate.model, samples, how)


def is_quantized(candidate: ModelCandidate) -> bool:
    """Whether the model holds int8 layers."""
    if candidate.format == "onnx":
        operators = read_onnx(candidate.model.data).operators
        return any(operators[name] for name in ("QuantizeLinear", "DequantizeLinear", "ConvInteger"))
    return b"FakeQuantize" in candidate.model.data or b'element_type="i8"' in candidate.model.data


def _require_float(candidate: ModelCandidate) -> None:
    if is_quantized(candidate):
        fix = "Take quantize: none, or give the float model."
        raise BundleError("model", "already quantized", "a float model to quantize", fix)
