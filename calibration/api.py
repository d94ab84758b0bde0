"""The public functions: profile a healthy site, recalibrate under drift, apply a patch, measure drift.

The framework is behind ``targets``, the decision is the gate's. No other file measures elapsed time or memory.
"""

import resource
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import BaselineFacts
from calibration.baseline.packing import pack_healthy_samples
from calibration.drift.divergence import drift_between
from calibration.drift.mahalanobis import effective_frames
from calibration.drift.replay import DriftReport, replay_drift
from calibration.errors import DataError, ModelError
from calibration.outputs.read import (
    Layout,
    UnknownAnswers,
    layout_of,
    named_only,
    read_answers,
)
from calibration.patch import Patch
from calibration.search import reference
from calibration.search.flow import FRAME_MOMENTS_OF
from calibration.search.healthy_answers import ANSWERED_AT_ONCE, add_answers
from calibration.search.opening import open_matching, open_search, require_sample_shape
from calibration.search.options import Options
from calibration.search.progress import Progress, tell_nobody
from calibration.stats.moments import ANSWERS_TAP, INPUT_TAP, FrameMoments, join
from calibration.stats.output_features import answer_features
from calibration.stats.sampling import samples_to_keep, spread_over
from calibration.stats.sensor_features import sensor_features_of_frames
from calibration.stats.signal_features import is_vector
from calibration.targets.base import Batch, ModelFiles, Observation, PatchedModel, Runner
from calibration.targets.open import Model, observe_patched, open_target
from calibration.targets.target import Target
from calibration.verdict import Verdict

_NO_CONTENTS = 1e-6
"""Spread within frames, as a share of their values (or of 1): less is float32 rounding."""


def profile(
    model: Model,
    x: NDArray[np.float32],
    *,
    healthy_samples: int | None = None,
    effective_count: float | None = None,
    threads: int = 1,
    created_wall_s: float | None = None,
    facts: BaselineFacts | None = None,
    output: str | None = None,
    layout: Layout | None = None,
    witness: int | None = None,
) -> Baseline:
    """Record the baseline of a healthy site.

    Args:
        model: ONNX, TorchScript or OpenVINO IR (path or bytes).
        x: Prepared healthy samples, float32: pictures (N, C, H, W), windows (N, C, T) or features (N, F), in the order
            in which they were seen; 64 and more are good, 8 the least from which drift can be scored and patches can be
            judged without labels. One that equals an earlier one is left out.
        healthy_samples: How many of them to keep, packed, for later: half of 64 or more teach patches, the
            others judge them. 0 keeps none; None keeps 96 pictures of 224 x 224, and up to 512 smaller samples.
        effective_count: How many independent frames they are worth; None works it out from the likeness of neighbours.
        threads: CPU threads.
        created_wall_s: Unix time to note; None is now.
        facts: Name and origin to note.
        output: Name of the output with the answers, of a model that has several.
        layout: How the outputs are read; None infers it from the answers to healthy samples, but for numbers
            (:class:`calibration.Values`): these are never inferred.
        witness: The old name of ``healthy_samples``.

    Raises:
        ModelError: the model cannot be recalibrated, or has no such output.
        DataError: the samples are of another shape or dtype, not finite, or show nothing, or the model's answers
            to them, read by a given ``layout``, are not finite.
    """
    if witness is not None:
        warnings.warn("profile(witness=) is now healthy_samples=", DeprecationWarning, stacklevel=2)
        healthy_samples = witness
    target = open_target(model, threads)
    healthy = reference.check(x, where="healthy samples").x
    healthy = _without_repeated(healthy)
    if effective_count is not None:
        effective_count = min(effective_count, float(len(healthy)))
    seen = target.observe(healthy, frames_of_first=FRAME_MOMENTS_OF)
    _require_contents(seen.frames[INPUT_TAP], has_positions=not is_vector(healthy.shape[1:]))
    most = samples_to_keep(healthy[0].size) if healthy_samples is None else healthy_samples
    kept = spread_over(len(healthy), most)
    run, packed = target.runner(), None
    if len(kept):  # the answers belong to the samples as they will be unpacked
        packed = add_answers(pack_healthy_samples(healthy, kept), run, output, layout)
        layout = layout or packed.layout
    found = _record(target, healthy, seen, created_wall_s, effective_count)
    return replace(
        found,
        frames={**found.frames, **_answers_to(run, healthy, layout, output)},
        output=output,
        healthy_samples=packed,
        facts=facts or BaselineFacts(),
    )


def snapshot(
    model: Model, x: NDArray[np.float32], *, threads: int = 1, created_wall_s: float | None = None
) -> Baseline:
    """What the sensor shows, as a baseline of the input and the first taps only: enough to know it again.

    No sample is in it, and no patch can be made from it. A drift that was answered by a patch is remembered so.
    Arguments and errors are those of :func:`profile`.
    """
    target = open_target(model, threads)
    given = reference.check(x).x
    seen = target.observe(given, first_taps=FRAME_MOMENTS_OF - 1, frames_of_first=FRAME_MOMENTS_OF)
    return _record(target, given, seen, created_wall_s)


def _record(
    target: Target,
    x: Batch,
    seen: Observation,
    created_wall_s: float | None,
    effective_count: float | None = None,
) -> Baseline:
    try:
        library = version("edge-runtime")
    except PackageNotFoundError:  # run from a checkout
        library = "unknown"
    return Baseline(
        moments=seen.moments,
        frames={**seen.frames, **sensor_features_of_frames(x)},
        model_sha256=target.sha256,
        input_shape=x.shape[1:],
        count=len(x),
        effective_count=effective_frames(seen.frames) if effective_count is None else effective_count,
        created_wall_s=time.time() if created_wall_s is None else created_wall_s,
        library=library,
    )


def patched(model: Model, patch: Patch | None) -> PatchedModel:
    """The patched model, whatever its format: its bytes (both files of an IR) and what was left alone.

    A patch suits the drift it was made under. When the drift ends, run the model without it again: on healthy pictures
    a patched model answers worse.

    Raises:
        DataError: there is no patch, because the verdict did not accept.
        PatchError: the patch was made for another model.
    """
    if patch is None:
        fix = "Look at Verdict.accepted first; Verdict.reasons says why not."
        raise DataError("patch", "None: the verdict did not accept", "the patch of an accepted verdict", fix)
    return open_target(model).patched(patch)


def apply(model: Model, patch: Patch | None) -> bytes:
    """:func:`patched` as the bytes of one file; the model itself is not touched.

    Raises:
        ModelError: an OpenVINO IR is two files; :func:`patched` gives both.
    """
    return _one_file(patched(model, patch).files, "calibration.patched(model, patch)")


def probe_files(model: Model) -> ModelFiles:
    """The model's first layers as a separate model, which gives the moments that :class:`DriftMonitor` watches.

    Outputs ``<tap>/mean`` and ``<tap>/var``, N*C elements each: single-frame moments as in ``Baseline.frames``, without
    ``input`` (measure the sample itself).

    Raises:
        ModelError: the model cannot be recalibrated.
    """
    return open_target(model).probe(FRAME_MOMENTS_OF - 1)


def probe(model: Model) -> bytes:
    """:func:`probe_files` as the bytes of one file; a ModelError for an OpenVINO IR, which is two."""
    return _one_file(probe_files(model), "calibration.probe_files(model)")


def _one_file(files: ModelFiles, instead: str) -> bytes:
    if files.weights is not None:
        raise ModelError("model", "an OpenVINO IR, which is two files", "one file", f"Use {instead}.")
    return files.data


def measure_drift(
    model: Model,
    baseline: Baseline,
    x: NDArray[np.float32],
    *,
    patch: Patch | None = None,
    threads: int = 1,
) -> dict[str, float]:
    """How far ``x`` is from the baseline at the input and every tap (symmetric KL, 0 is none).

    With a ``patch`` of the model: at those taps of the patched model that can still be read.
    """
    target, given = open_matching(model, baseline, threads), reference.check(x).x
    if patch is None:
        return drift_between(target.observe(given).moments, baseline.moments)
    seen, healthy = observe_patched(target, patch, given, threads), baseline.moments
    return drift_between({tap: seen[tap] for tap in healthy if tap in seen}, healthy)


def watch_drift(model: Model, baseline: Baseline, x: NDArray[np.float32], *, threads: int = 1) -> DriftReport:
    """What the daemon's monitor would say of ``x``, and how far it is from the baseline at every tap.

    ``x`` are prepared samples, float32 (N, C, ...), in the order in which they were seen; the monitor decides after 48.
    Errors are those of :func:`recalibrate`; a baseline that has expired still scores drift.
    """
    target = open_matching(model, baseline, threads)
    given = reference.check(x).x
    require_sample_shape(given, baseline)
    seen = target.observe(given, frames_of_first=FRAME_MOMENTS_OF)
    frames = {**seen.frames, **sensor_features_of_frames(given)}
    if ANSWERS_TAP in baseline.frames:
        layout = None if baseline.healthy_samples is None else baseline.healthy_samples.layout
        frames |= _answers_to(target.runner(), given, layout, baseline.output)
    return replay_drift(baseline, drift_between(seen.moments, baseline.moments), frames)


def recalibrate(
    model: Model,
    baseline: Baseline,
    x: NDArray[np.float32],
    y: NDArray[np.integer[Any]] | None = None,
    options: Options | None = None,
    further_input: FrameMoments | None = None,
    progress: Progress = tell_nobody,
) -> Verdict:
    """Find out whether a patch makes the model better on what the sensor shows now, and make it.

    The patch is for this drift alone: take it off when the drift ends, which :func:`watch_drift` tells.

    Args:
        model: The model file the baseline was recorded with.
        baseline: The healthy site.
        x: Reference samples, prepared, float32 (N, C, ...); 64 are good, 8 usable ones the least.
        y: Their classes, integers (N,), if known; then they decide instead of the label-free scores.
        options: Seed, threads, sizes; None is the defaults.
        further_input: Input moments (M, C) of further frames of the same time whose pictures were not kept; they take
            part in the correction of the input.
        progress: Told how far the search is: its phase, and the share of this phase that is done, 0..1. It may raise to
            stop the search.

    Returns:
        A verdict; not accepting is a normal answer with its reasons.

    Raises:
        ModelError: the model cannot be recalibrated, or has no output of the name in ``options``.
        DataError: the frames are of another shape or dtype, or not finite.
        BaselineError: the baseline is of another model, or has expired.
        PatchError: a patch in ``options`` is of another model or another baseline.
    """
    given = options or Options()
    return _measure(
        lambda: open_search(model, baseline, x, y, given, further_input, progress, time.time()).decide()
    )


def judge(
    model: Model,
    baseline: Baseline,
    patch: Patch,
    x: NDArray[np.float32],
    options: Options | None = None,
    progress: Progress = tell_nobody,
) -> Verdict:
    """What the gate says of one patch on the frames ``x``, as of a candidate of :func:`recalibrate`; none is made.

    With the ``options`` that it was made with, it is judged by healthy samples that it was not distilled from. Errors
    are those of :func:`recalibrate`.
    """
    given = replace(options or Options(), known={patch.candidate: patch}, start=None)
    return _measure(
        lambda: open_search(model, baseline, x, None, given, None, progress, time.time()).judge_known()
    )


def _measure(decide: Callable[[], Verdict]) -> Verdict:
    """The verdict with what it cost."""
    started_s, memory_mb = time.monotonic(), _peak_memory_mb()
    verdict = decide()
    return replace(
        verdict,
        seconds=time.monotonic() - started_s,
        extra_memory_mb=max(0.0, _peak_memory_mb() - memory_mb),
    )


def _without_repeated(x: Batch) -> Batch:
    """The frames that equal no earlier one: a film that loops is no longer than once through."""
    repeated = reference.find_repeated(x)
    return x[~repeated] if repeated.any() else x


def _answers_to(run: Runner, x: Batch, layout: Layout | None, output: str | None) -> dict[str, FrameMoments]:
    """What the model answers to single frames, for telling content from sensor; empty where that cannot be read.

    Without a ``layout`` it is inferred from the first answers.
    """
    parts = list[FrameMoments]()
    try:
        layout = layout or layout_of(named_only(run(x[:ANSWERED_AT_ONCE]), output))
        for start in range(0, len(x), ANSWERED_AT_ONCE):
            some = x[start : start + ANSWERED_AT_ONCE]
            answers = read_answers(named_only(run(some), output), layout, some)
            parts.append(answer_features(answers, layout))
    except UnknownAnswers:
        return {}
    whole = join(parts)
    return {ANSWERS_TAP: whole} if np.isfinite(whole.mean).all() else {}


def _require_contents(frames: FrameMoments, *, has_positions: bool) -> None:
    """Refuse a baseline of lens caps: every later frame would be infinitely far from it.

    Features without positions (N, F) only differ from sample to sample.
    """
    spread = np.sqrt(frames.var.max() if has_positions else frames.mean.var(axis=0).max())
    if spread <= _NO_CONTENTS * max(1.0, float(np.abs(frames.mean).max())):
        fix = "Look at the samples: a lens cap, a dead sensor, or a preparation that lost them."
        found = "every frame is of one colour, or constant"
        raise DataError("healthy samples", found, "samples of a healthy site", fix)


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
