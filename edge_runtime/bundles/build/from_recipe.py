"""From a recipe to a bundle: read, convert, check, quantize, measure, choose, build; all or nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundles.answer_check import check_readable, require_numbers
from edge_runtime.bundles.build.build import Materials, Recipe, build_bundle, find_target
from edge_runtime.bundles.build.candidates import (
    KEEP_FLOAT,
    ModelCandidate,
    Pictures,
    choose_candidate,
    describe_figures,
    is_quantized,
    quantize_candidates,
)
from edge_runtime.bundles.build.checkpoint import read_version
from edge_runtime.bundles.build.measure import measure_times_ms, name_processor
from edge_runtime.bundles.build.notes import list_notes
from edge_runtime.bundles.build.recipe_file import Quantization, RecipeFile, read_recipe
from edge_runtime.bundles.build.recipe_inputs import read_golden, read_labels, read_pictures
from edge_runtime.bundles.build.refusals import FormatAttempts
from edge_runtime.bundles.build.source_model import (
    Answers,
    SourceModel,
    choose_formats,
    convert_source,
    find_preprocess,
    make_answer_function,
    open_source,
)
from edge_runtime.bundles.compare import measure_difference
from edge_runtime.bundles.manifest import Measured, Provenance
from edge_runtime.bundles.self_test import SAME_RUN, make_random_refusal, prepare_golden, run_one
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.datatypes import Sample
from edge_runtime.errors import BundleError, EdgeRuntimeError, EngineError, ExitCode
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec, StrictModel

_TOOLS = ("torch", "onnx", "onnxruntime", "openvino", "nncf")
STEPS = (
    "reading the model",
    "reading the pictures or windows",
    "checking the model's answers",
    "converting",
    "quantizing and measuring",
    "writing and testing the bundle",
)
"""Of one build, in their order."""
Tell = Callable[[str], None]
"""Hears of each of them before it begins."""


class ExtraMissing(EdgeRuntimeError):
    """A library of an extra is not installed; the text says what to install."""

    exit_code = ExitCode.USAGE


class Built(StrictModel):
    """A finished bundle, its figures, and notes for its author."""

    path: Path
    bundle: str
    format: str
    quantize: str
    is_int8: bool
    """Whether the model is, by this build or as it was given."""
    size_bytes: int
    """Of the model, weights included."""
    measured: tuple[Measured, ...]
    candidates: dict[str, str]
    """By format: the figures of each candidate, or the reason why it was left out."""
    notes: tuple[str, ...] = ()


def tell_nobody(step: str) -> None:
    """For a build that nobody waits for."""


def build_from_recipe(
    path: Path, out_dir: Path, changes: Mapping[str, Any], tell: Tell = tell_nobody
) -> Built:
    """Build ``out_dir/<name>/<version>/`` as the recipe says; ``changes`` is what flags say instead, by key.

    Raises:
        ConfigError: the recipe is wrong; lists every problem.
        BundleError: model, pictures or figures are not good enough; nothing is written.
        CalibrationError: a folder of pictures cannot be used.
        ExtraMissing: a library is not installed.
    """
    recipe = read_recipe(path, changes)
    return build(recipe, path.resolve().parent, out_dir, f"edge-runtime bundle build {path.name}", tell)


def build(recipe: RecipeFile, folder: Path, out_dir: Path, command: str, tell: Tell = tell_nobody) -> Built:
    """Build from a recipe that was read before, with the same errors; its factory may lie in ``folder``."""
    try:
        return _build(recipe, folder, out_dir, command, tell)
    except EngineError as err:  # those of the model are refusals by now
        if not isinstance(err.__cause__, ModuleNotFoundError):
            raise
        raise ExtraMissing(f"{recipe.name}: {err}") from err
    except ModuleNotFoundError as err:
        if err.name not in (*_TOOLS, "onnxscript"):
            raise
        extra = "openvino,build" if err.name in ("openvino", "nncf") else "build"
        needed = f"building this needs {err.name}; install it: pip install 'edge-runtime[{extra}]'"
        raise ExtraMissing(f"{recipe.name}: {needed}") from err


def _build(recipe: RecipeFile, folder: Path, out_dir: Path, command: str, tell: Tell) -> Built:
    steps = iter(STEPS)
    tell(next(steps))
    source = open_source(recipe, folder)
    spec = find_preprocess(recipe, source)
    formats = choose_formats(recipe, source, spec)
    decisions = Recipe(
        recipe.name, _version(recipe, source), spec, recipe.postprocess,
        first_taps=recipe.first_taps, tolerance=recipe.tolerance, requires=recipe.requires, envelope=recipe.envelope,
    )  # fmt: skip
    find_target(decisions, out_dir)  # what exists is refused before minutes of work
    tell(next(steps))
    labels, golden = read_labels(recipe), read_golden(recipe.golden, spec)
    pictures = read_pictures(recipe, spec, labels)
    samples = [prepare_golden(spec, f"golden/{name}", data) for name, data in golden.items()]
    tell(next(steps))
    attempts, answers = FormatAttempts(), make_answer_function(source, spec)
    _check_source(source.path, answers, decisions, labels, samples)
    probes = np.stack([sample.tensor for sample in samples])
    tell(next(steps))
    floats = convert_source(source, formats, spec, probes, attempts, answers)
    tell(next(steps))
    candidates = _make_candidates(recipe, spec, floats, probes, pictures, attempts)
    tell(next(steps))
    for taken in _best_first(candidates, recipe, pictures):
        with attempts.trying(taken.format):
            final = replace(decisions, provenance=_provenance(recipe, command, taken))
            if recipe.quantize == "int8":
                _check_quantized(taken, decisions, labels, samples)
            held_out = None if pictures is None else pictures.held_out
            materials = Materials(taken.model, golden, labels, held_out)
            path = build_bundle(final, materials, taken.engine, out_dir)
            seen = probes if held_out is None else held_out
            return _describe(path, taken, candidates, attempts, recipe.quantize, seen)
    raise attempts.refusal()


def _make_candidates(
    recipe: RecipeFile,
    spec: PreprocessSpec,
    floats: Sequence[ModelCandidate],
    probes: NDArray[np.float32],
    pictures: Pictures | None,
    attempts: FormatAttempts,
) -> list[ModelCandidate]:
    if recipe.quantize == "int8":
        assert pictures is not None
        how = Quantization(
            recipe.keep_float,
            recipe.weight_bits,
            keeps_decoding=recipe.postprocess.task == "detection",
            keeps_extremes=isinstance(spec, SignalSpec),
        )
        return list(quantize_candidates(floats, spec, recipe.postprocess, pictures, how, attempts))
    times = measure_times_ms(tuple(candidate.engine for candidate in floats), probes)
    on, machine = f"golden {spec.noun}s", name_processor()
    return [
        replace(one, measured=(Measured(on=on, samples=len(probes), infer_ms=time, machine=machine),))
        for one, time in zip(floats, times, strict=True)
    ]


def _best_first(
    candidates: Sequence[ModelCandidate], recipe: RecipeFile, pictures: Pictures | None
) -> Iterator[ModelCandidate]:
    """The candidates, the best of those that are left each time.

    Raises:
        BundleError: none that is left keeps the limits of the recipe.
    """
    left = list(candidates)
    while left:
        if recipe.quantize == "none":
            best = min(left, key=lambda candidate: candidate.infer_ms)
        else:
            assert pictures is not None
            best = choose_candidate(left, recipe.limits, len(pictures.to_quantize))
        yield best
        left.remove(best)


def _describe(
    path: Path,
    taken: ModelCandidate,
    candidates: Sequence[ModelCandidate],
    attempts: FormatAttempts,
    quantize: str,
    samples: NDArray[np.float32],
) -> Built:
    bundle = load_bundle(path)
    size = len(taken.model.data) + len(taken.model.weights or b"")
    figures: dict[str, str] = {candidate.format: describe_figures(candidate) for candidate in candidates}
    figures |= {name: f"left out: {reason}" for name, reason in attempts.reasons.items()}
    return Built(
        path=path, bundle=bundle.id, format=taken.format, quantize=quantize, is_int8=is_quantized(taken),
        size_bytes=size, measured=taken.measured,
        candidates=figures, notes=list_notes(bundle.manifest, samples),
    )  # fmt: skip


def _check_source(
    path: Path, answers: Answers, recipe: Recipe, labels: tuple[str, ...], samples: Sequence[Sample]
) -> None:
    """Refuse early, before minutes of work: answers that change by themselves or cannot be read."""
    found = answers(np.stack([sample.tensor for sample in samples]))
    outputs = [{name: array[i] for name, array in found.items()} for i in range(len(samples))]
    require_numbers(found)
    again, once_more = (answers(samples[0].tensor[np.newaxis]) for _ in range(2))
    gap = measure_difference(once_more, again)
    if not gap <= SAME_RUN:
        raise make_random_refusal(path, gap)
    check_readable(recipe, labels, list(zip(samples, outputs, strict=True)), path, "labels")


def _check_quantized(
    taken: ModelCandidate, recipe: Recipe, labels: tuple[str, ...], samples: Sequence[Sample]
) -> None:
    """Refuse answers that can no longer be read; those of the float model could, so the recipe is right."""
    answers = [(sample, run_one(taken.engine, sample.tensor)) for sample in samples]
    try:
        check_readable(recipe, labels, answers, Path(recipe.name), "labels")
    except BundleError as err:
        found = f"after int8 quantization {err.found}; the float model's answers could be read"
        raise BundleError("quantize", found, err.expected, f"{KEEP_FLOAT}, or take another format.") from err


def _version(recipe: RecipeFile, source: SourceModel) -> int:
    if recipe.version is not None:
        return recipe.version
    if source.version is None:
        return 1
    number = read_version(source.version)
    if number is None:
        fix, expected = "Write version: NUMBER into the recipe.", "a whole number from 1, or as 1.0.2"
        raise BundleError(f"{source.path}: version", repr(source.version), expected, fix)
    return number


def _provenance(recipe: RecipeFile, command: str, taken: ModelCandidate) -> Provenance:
    tools = {}
    for name in _TOOLS:
        with suppress(PackageNotFoundError):
            tools[name] = version(name)
    source, licence = recipe.source or recipe.model.name, recipe.licence
    return Provenance(source=source, licence=licence, tools=tools, command=command, measured=taken.measured)
