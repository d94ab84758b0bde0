"""Runs a bundle's golden inputs through the real preprocessing and engine and compares with the golden outputs.

Wrong preprocessing and a model in training mode are the usual causes of "good in validation, bad in production", and
neither raises an error. Where the outputs differ, the usual mistakes are tried one by one, and the message names the
one that explains the difference.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from edge_runtime.bundles.answer_check import check_answers
from edge_runtime.bundles.company import count_company
from edge_runtime.bundles.compare import Comparison, choose_comparison, measure_difference
from edge_runtime.bundles.input_check import check_input
from edge_runtime.bundles.manifest import Golden
from edge_runtime.bundles.variations import list_mistakes
from edge_runtime.bundles.verify import Bundle
from edge_runtime.datatypes import Frame, Rejected, Sample
from edge_runtime.errors import BundleError, EngineError
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.postprocess.postprocessor import OneOutput
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.specs import PreprocessSpec, reads_input

SAME_RUN = 1e-3  # two runs of one input; kernels may differ in the last bits, dropout differs in the first
_PATCH_INPUTS = 2  # golden inputs for a patched model: few, because live frames wait meanwhile
_NO_TENSOR = np.empty(0, np.float32)
_BUILD_AGAIN = "Correct it where the bundle is built and build it again."


@dataclass(frozen=True, slots=True)
class SelfTestReport:
    """A passed self-test."""

    runs_on: str
    differences: tuple[float, ...]
    """Of each golden input: RMS of the difference to the golden outputs over their RMS spread, worst output."""
    batch_difference: float | None
    """Difference between answers alone and in company; None when the model takes one input at a time."""
    answers: Mapping[str, NDArray[Any]]
    """To the first golden inputs, as :func:`answer_golden_inputs` gives them."""

    @property
    def worst(self) -> float:
        """Largest difference of all golden inputs."""
        return max(self.differences)


def self_test(bundle: Bundle, engine: Engine) -> SelfTestReport:
    """Check that the engine, fed by the bundle's preprocessing, gives the golden outputs.

    Raises:
        BundleError: they differ; the message says how and, where one of the usual mistakes explains it, which.
        EngineError: the engine failed.
    """
    check_input(bundle.path, bundle.manifest.preprocess, engine.input)
    spec = bundle.manifest.preprocess
    samples, found, company = list[Sample](), list[OneOutput](), list[NDArray[np.float32]]()
    for golden in bundle.manifest.golden:
        sample = golden_sample(bundle, golden, spec)
        found.append(run_one(engine, sample.tensor))
        if len(company) < count_company(sample.tensor.nbytes):
            company.append(sample.tensor)
        kept = sample.tensor if reads_input(bundle.manifest.postprocess) else _NO_TENSOR
        samples.append(replace(sample, tensor=kept, values=None))  # 64 large pictures take gigabytes
    wanted = [golden_outputs(bundle, golden) for golden in bundle.manifest.golden]
    compare = choose_comparison(bundle.manifest.compare, bundle.manifest, wanted)
    gap = measure_difference(run_one(engine, company[0]), found[0])
    if not gap <= SAME_RUN:
        raise make_random_refusal(bundle.path, gap)
    batch_difference = _check_company(bundle, engine, compare, company, found[: len(company)])
    gaps = []
    for golden, outputs, expected in zip(bundle.manifest.golden, found, wanted, strict=True):
        gaps.append(compare(outputs, expected))
        if not gaps[-1] <= bundle.manifest.tolerance:
            raise _mismatch(bundle, engine, compare, golden, outputs, expected)
    check_answers(bundle, list(zip(samples, found, strict=True)))
    answers = _number_answers(found[:_PATCH_INPUTS])
    return SelfTestReport(engine.runs_on, tuple(gaps), batch_difference, answers)


def answer_golden_inputs(bundle: Bundle, engine: Engine) -> dict[str, NDArray[Any]]:
    """Answers of a model to the first golden inputs, for a safetensors file: ``0/logits``, ``1/logits``.

    Those of a patched model are stored with the patch, those of the base are kept from its self-test. Every engine
    that opens the model later is compared with them by :func:`check_same_answers`. Reads only
    :func:`list_compared_inputs`.

    Raises:
        EngineError: the engine failed.
    """
    spec = bundle.manifest.preprocess
    return _number_answers(
        run_one(engine, golden_sample(bundle, golden, spec).tensor)
        for golden in bundle.manifest.golden[:_PATCH_INPUTS]
    )


def _number_answers(answers: Iterable[OneOutput]) -> dict[str, NDArray[Any]]:
    return {
        f"{number}/{name}": np.ascontiguousarray(array)
        for number, outputs in enumerate(answers)
        for name, array in outputs.items()
    }


def list_compared_inputs(bundle: Bundle) -> list[str]:
    """Names of the golden inputs that :func:`answer_golden_inputs` reads."""
    return [golden.input for golden in bundle.manifest.golden[:_PATCH_INPUTS]]


def check_same_answers(bundle: Bundle, engine: Engine, expected: OneOutput) -> None:
    """Check that an engine gives the answers that another one gave with the same model.

    Raises:
        EngineError: the answers differ, or the engine failed.
    """
    gap = measure_difference(answer_golden_inputs(bundle, engine), expected)
    if not gap <= bundle.manifest.tolerance:
        raise EngineError(
            f"the model answers the golden inputs otherwise than when it was first tested, by {gap:.3g}; "
            f"expected at most {bundle.manifest.tolerance:g} ({engine.runs_on}). It is not used"
        )


def golden_sample(bundle: Bundle, golden: Golden, spec: PreprocessSpec) -> Sample:
    """A golden input, prepared by the same code as live frames.

    Raises:
        BundleError: it cannot be used.
    """
    return prepare_golden(spec, bundle.path / golden.input, bundle.read(golden.input))


def prepare_golden(spec: PreprocessSpec, at: Path | str, payload: bytes) -> Sample:
    """An encoded golden picture or window, prepared by the same code as live frames.

    Raises:
        BundleError: it cannot be used.
    """
    sample = make_preprocessor(spec).prepare(Frame("golden", 0, payload, 0.0, 0.0, colour=None))
    if isinstance(sample, Rejected):
        found = f"golden {spec.noun} is {sample.reason}: {sample.detail}"
        raise BundleError(at, found, f"a usable {spec.noun}", _BUILD_AGAIN)
    return sample


def golden_outputs(bundle: Bundle, golden: Golden) -> dict[str, NDArray[Any]]:
    """The outputs that the model must give, by name.

    Raises:
        BundleError: the file is damaged.
    """
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.numpy.load(bundle.read(golden.expected))
    except (safetensors.SafetensorError, ValueError, KeyError) as err:
        at = bundle.path / golden.expected
        raise BundleError(at, f"not readable: {err}", "safetensors with the outputs", _BUILD_AGAIN) from err
    return arrays


def run_one(engine: Engine, tensor: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Outputs of one sample, without the batch axis."""
    return {name: array[0] for name, array in engine.infer(tensor[None]).items()}


def make_random_refusal(at: Path | str, gap: float) -> BundleError:
    """The refusal of a model that answers the same input differently."""
    found = (
        f"the same input gave outputs that differ by {gap:.3g} in two runs: it is not deterministic "
        "(dropout is active, or it draws random numbers)"
    )
    fix = "Call model.eval() before the export, and take random operators out of the model."
    return BundleError(at, found, "a model in evaluation mode", fix)


def _check_company(
    bundle: Bundle,
    engine: Engine,
    compare: Comparison,
    tensors: list[NDArray[np.float32]],
    alone: Sequence[OneOutput],
) -> float | None:
    """BatchNorm in training mode makes an answer depend on the other pictures of its batch."""
    if engine.input.shape[0] == 1:
        return None
    company = tensors if len(tensors) > 1 else [tensors[0], np.zeros_like(tensors[0])]
    together = engine.infer(np.stack(company))
    _require_same_sizes(bundle, together, alone)
    gap = max(
        compare({name: array[index] for name, array in together.items()}, outputs)
        for index, outputs in enumerate(alone)
    )
    if not gap <= bundle.manifest.tolerance:
        cause = "BatchNorm is in training mode"
        found = f"answers change by {gap:.3g} with the others in the batch: {cause}"
        fix = "Call model.eval() before the export."
        raise BundleError(bundle.path, found, "a model in evaluation mode", fix)
    return gap


def _require_same_sizes(bundle: Bundle, together: OneOutput, alone: Sequence[OneOutput]) -> None:
    """A model that answers until it is done has outputs as long as the longest answer of its batch needs."""
    for name, array in together.items():
        for size in (outputs[name].shape for outputs in alone if name in outputs):
            if size != array.shape[1:]:
                found = (
                    f"output {name} has the size {size} for one input alone and {array.shape[1:]} in a batch"
                )
                fix = "Export the model with outputs that are padded to a fixed size."
                raise BundleError(bundle.path, found, "one size for all inputs", fix)


def _mismatch(
    bundle: Bundle,
    engine: Engine,
    compare: Comparison,
    golden: Golden,
    outputs: OneOutput,
    expected: OneOutput,
) -> BundleError:
    at, gap = bundle.path / golden.input, compare(outputs, expected)
    if outputs.keys() != expected.keys():
        found, want = f"outputs {', '.join(sorted(outputs))}", ", ".join(sorted(expected))
        return BundleError(at, found, f"outputs {want}", _BUILD_AGAIN)
    shapes = {name: (outputs[name].shape, expected[name].shape) for name in expected}
    wrong = [f"{name} {got} instead of {want}" for name, (got, want) in shapes.items() if got != want]
    if wrong:
        return BundleError(at, f"output shapes: {', '.join(wrong)}", "the golden shapes", _BUILD_AGAIN)
    what = "detections" if compare.by == "detections" else "outputs"
    found = f"{what} differ from the golden ones by {gap:.3g}{_top_words(bundle, outputs, expected)}"
    words, fix = _explanation(bundle, engine, compare, golden, gap, expected)
    return BundleError(at, f"{found}. {words}", f"a difference of at most {bundle.manifest.tolerance:g}", fix)


def _top_words(bundle: Bundle, outputs: OneOutput, expected: OneOutput) -> str:
    if bundle.manifest.postprocess.task != "classification":
        return ""
    name = bundle.manifest.postprocess.output or next(iter(expected))
    if name not in expected:
        return ""
    got, want = int(np.argmax(outputs[name])), int(np.argmax(expected[name]))
    names = [bundle.labels[i] if i < len(bundle.labels) else f"class {i}" for i in (got, want)]
    return f" (first class {' instead of '.join(names if got != want else names[:1])})"


def _explanation(
    bundle: Bundle, engine: Engine, compare: Comparison, golden: Golden, gap: float, expected: OneOutput
) -> tuple[str, str]:
    """Which usual mistake in the preprocessing explains the difference, and what to do."""
    tried = []
    for name, spec in list_mistakes(bundle.manifest.preprocess):
        tensor = golden_sample(bundle, golden, spec).tensor
        with suppress(EngineError):  # a model may refuse such values: then they are not the explanation
            tried.append((compare(run_one(engine, tensor), expected), name))
    best, name = min(tried, default=(float("inf"), ""))
    if best <= bundle.manifest.tolerance:
        words = f"With {name} it is {best:.3g}, so that is what the golden outputs were made with"
        return words, f"Set {name} under preprocess and build it again."
    if best < gap / 3:
        return f"With {name} it would be {best:.3g}: look there first", _BUILD_AGAIN
    words = "No usual mistake in the preprocessing explains it: the model is another one, damaged, or in training mode"
    return words, "Compare the model file with the one the golden outputs were made with."
