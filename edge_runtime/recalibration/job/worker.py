"""The recalibration process: ``python -m edge_runtime.recalibration.job.worker FOLDER [FRAMES_FD]``.

Two jobs: *commission* turns healthy frames into a baseline and a probe model; *recalibrate* turns a reference set into
a verdict with its report and, if the gate accepts, a patch and the patched model. It runs at low priority,
with pauses where no core is free, within a memory limit, and touches only its own folder: the daemon moves results into
place.

How far it is, ``progress.json`` says. The last file written is ``outcome.json``. A refusal by the gate is an outcome,
not an error.
"""

import contextlib
import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

import calibration
from calibration.errors import CalibrationError, ModelError
from calibration.gate.classification import GateSettings
from calibration.search.candidates import UNPATCHED
from calibration.search.reference import FEWEST_FRAMES
from calibration.stats.moments import FrameMoments
from calibration.targets import model_files
from calibration.targets.base import ModelFiles
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.self_test import answer_golden_inputs
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.config import RecalibrationConfig
from edge_runtime.deployment.model_state import ANSWERS_FILE
from edge_runtime.errors import EdgeRuntimeError, StateError
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.postprocess.detections import answer_layout
from edge_runtime.inference.postprocess.healthy_threshold import needs_healthy_scores
from edge_runtime.inference.preprocess import PictureLimits, Preprocessor, channels_first, make_preprocessor
from edge_runtime.inference.preprocess.reference_folder import read_reference_folder
from edge_runtime.inference.specs import AnomalySpec, PreprocessSpec, SignalSpec
from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.envelope import keep_within
from edge_runtime.recalibration.healthy_scores import SCORES_FILE, score_frames, write_scores
from edge_runtime.recalibration.job.earlier_patches import EarlierPatches
from edge_runtime.recalibration.job.messages import (
    REQUEST,
    RESULT,
    CommissioningResult,
    JobFailure,
    JobRequest,
    JobResult,
    make_report,
)
from edge_runtime.recalibration.job.progress import ProgressFile, Tell
from edge_runtime.recalibration.job.report import leave_report
from edge_runtime.recalibration.task import Kind
from edge_runtime.system.pacing import pace_main_thread
from edge_runtime.system.priority import lower_priority
from edge_runtime.system.sandbox import lower_limit

_OTHER_BUNDLE = (
    "the bundle in {path} is another one ({bundle}) than the one that answers; nothing was changed. "
    "Restart the daemon, so that it opens the new one, or put the old one back"
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Frames ready for the model."""

    x: NDArray[np.float32]
    """(N,C,H,W)."""
    y: NDArray[np.int64] | None = None
    """(N,) their labels, where the folder tells them."""
    live: NDArray[np.float32] | None = None
    """(M,C,...) live frames, on which a patch for the set ``x`` must be accepted as well; None where not."""


_PACED_PART = 1 / 3
"""Of ``recalibration.timeout_s``; afterwards the job hurries, since a long one must not be killed for its pauses."""
_STEP_SHARES = {"full": 1.0, "short": 0.5, "off": 0.0}
"""Of the library's steps, by ``recalibration.distillation``."""


def main(folder: Path, pictures: BinaryIO | None = None) -> None:
    """Do the job in ``folder``.

    Args:
        folder: With ``job.json``; takes ``outcome.json`` and the job's files.
        pictures: Live frames in numpy's file format: uint8 (N,H,W,C), or of signals float32 (N,C,T) in their units;
            None where the job needs none.
    """
    try:
        request = REQUEST.read(folder)
        _limit_this_process(request.settings)
        result = _work(folder, request, pictures)
    except (CalibrationError, EdgeRuntimeError) as err:
        result = JobFailure(str(err), is_lasting=isinstance(err, ModelError))
    RESULT.write(folder, result)


def _work(folder: Path, request: JobRequest, pictures: BinaryIO | None) -> JobResult:
    try:
        bundle = load_bundle(request.bundle)
        if bundle.manifest.sha256 != request.manifest_sha256:
            return JobFailure(_OTHER_BUNDLE.format(bundle=bundle.id, path=request.bundle))
        tell = ProgressFile(folder).tell
        tell("preparing", 0.0)
        frames = _prepare(request, bundle, pictures)
        work = _commission if request.kind is Kind.COMMISSION else _recalibrate
        return work(folder, request, bundle, frames, tell)
    except MemoryError:
        error = f"needs more than recalibration.memory_mib = {request.settings.memory_mib}"
        return JobFailure(error, is_lasting=True)


def _commission(folder: Path, request: JobRequest, bundle: Bundle, frames: Prepared, tell: Tell) -> JobResult:
    model, x = bundle.model_files, frames.x
    if request.facts is None:
        raise StateError("job.json has no facts about the baseline that is to be made")
    tell("measuring", 0.0)
    baseline = calibration.profile(
        model,
        x,
        created_wall_s=request.at_wall_s,
        facts=request.facts,
        output=bundle.manifest.scores_output,
        layout=answer_layout(bundle.manifest.postprocess),
    )
    if baseline.count < FEWEST_FRAMES:
        few = (
            f"only {baseline.count} of {len(x)} frames differ from each other; at least {FEWEST_FRAMES} must"
        )
        return JobFailure(few)
    if not request.keep_pictures:
        baseline = baseline.without_samples()
    tell("writing", 0.0)
    baseline.save(folder / "baseline.safetensors")
    postprocess = bundle.manifest.postprocess
    if isinstance(postprocess, AnomalySpec) and needs_healthy_scores(postprocess):
        write_scores(folder / SCORES_FILE, baseline.id, score_frames(bundle, postprocess, x))
    probe = calibration.probe_files(model)
    model_files.write(folder / f"probe{model_files.suffix(probe)}", probe)
    return CommissioningResult(baseline.count, len(baseline.moments), round(baseline.effective_count, 1))


def _recalibrate(
    folder: Path, request: JobRequest, bundle: Bundle, frames: Prepared, tell: Tell
) -> RecalibrationReport:
    baseline, model = calibration.Baseline.load(request.baseline), bundle.model_files
    further = np.asarray([[one.mean, one.var] for one in request.further_input], np.float64)  # (M, 2, C)
    moments = FrameMoments(further[:, 0], further[:, 1]) if len(further) else None
    earlier = EarlierPatches.load(request, model.sha256, baseline.id)
    options = replace(
        choose_options(request.settings),
        output=bundle.manifest.scores_output,
        layout=answer_layout(bundle.manifest.postprocess),
        first_taps=bundle.manifest.calibration.most_taps,
        known=earlier.known,
        start=earlier.start,
    )
    verdict = calibration.recalibrate(model, baseline, frames.x, frames.y, options, moments, tell)
    verdict = replace(verdict, notes=(*verdict.notes, *earlier.problems))
    verdict = name_dead_channels(verdict, bundle.manifest.preprocess)
    verdict = keep_within(bundle.manifest.calibration.envelope, verdict, baseline)
    if verdict.accepted and frames.live is not None:
        assert verdict.patch is not None, "it was accepted"
        verdict = confirm(
            verdict, calibration.judge(model, baseline, verdict.patch, frames.live, options, tell)
        )
    tell("writing", 0.0)
    report = make_report(verdict, request)
    is_new = verdict.patch is not None and not report.is_known
    if verdict.patch is not None and report.is_known:
        report = replace(report, model_sha256=_patched_files(bundle, verdict.patch).sha256)
    elif verdict.patch is not None:
        sha256 = _store_patch(folder / "patch", bundle, verdict.patch)
        report = replace(report, model_sha256=sha256)
        if request.reference.needs_live_frames:  # a folder stands for the site in general, not for a drift
            seen = calibration.snapshot(model, frames.x if frames.live is None else frames.live)
            seen.save(folder / "patch" / "observed.safetensors")
    place = folder / ("patch" if is_new and not request.is_dry_run else "report")
    leave_report(place, report, bundle, baseline, frames.x, verdict, request)
    return report


def confirm(verdict: calibration.Verdict, live: calibration.Verdict) -> calibration.Verdict:
    """The verdict on a reference set; a refusal where the gate does not accept its patch on live frames as well."""
    seconds, memory_mb = verdict.seconds + live.seconds, max(verdict.extra_memory_mb, live.extra_memory_mb)
    verdict = replace(verdict, seconds=seconds, extra_memory_mb=memory_mb)
    if live.accepted:
        kept = f"On {live.frames.given} live frames it was accepted as well."
        return replace(verdict, notes=(*verdict.notes, kept))
    reasons = (
        f"The patch was accepted on the reference set, and refused on {live.frames.given} live frames:",
        *live.reasons,
        "On the reference set:",
        *verdict.reasons,
    )
    return replace(verdict, accepted=False, candidate=UNPATCHED, patch=None, reasons=reasons)


def name_dead_channels(verdict: calibration.Verdict, spec: PreprocessSpec) -> calibration.Verdict:
    """The verdict, which knows channels by number only, with the names that the bundle gives to dead ones."""
    if not verdict.dead_channels or not isinstance(spec, SignalSpec):
        return verdict
    names = ", ".join(f"{number} is {spec.channel_names[number]}" for number in verdict.dead_channels)
    return replace(verdict, reasons=(*verdict.reasons, f"In the bundle, channel {names}."))


def choose_options(settings: RecalibrationConfig) -> calibration.Options:
    """The library's options, with the gate as strict as the operator wants it, and as many steps of distillation."""
    options, margin, strictness = calibration.Options(), settings.margin, settings.strictness
    gate, detection = options.gate_settings, options.detection_gate_settings
    if margin is None:
        gate = scale_gains(gate, strictness)
        detection = replace(detection, min_gain=detection.min_gain * strictness)
    else:
        gate, detection = apply_margin(gate, margin), replace(detection, min_gain=margin)
    steps = round(_STEP_SHARES[settings.distillation] * options.distillation.steps)
    return replace(
        options,
        gate_settings=gate,
        detection_gate_settings=detection,
        distillation=replace(options.distillation, steps=steps),
    )


def scale_gains(settings: GateSettings, factor: float) -> GateSettings:
    """The gate with a factor on every required gain; scenes of few classes only ever become stricter."""
    return replace(
        settings,
        min_evidence=settings.min_evidence * factor,
        sure_gain=settings.sure_gain * factor,
        min_gain=settings.min_gain * factor,
        min_agreement_gain=settings.min_agreement_gain * factor,
        margin_without_samples=settings.margin_without_samples * factor,
        margin_times_frames=settings.margin_times_frames * factor,
        few_class_min_gain=settings.few_class_min_gain * max(1.0, factor),
        few_class_margin=settings.few_class_margin * max(1.0, factor),
    )


def apply_margin(settings: GateSettings, margin: float) -> GateSettings:
    """The gate with the deprecated ``recalibration.margin``: one number in place of gains of several units."""
    return replace(
        settings,
        min_evidence=margin,
        sure_gain=margin,
        min_gain=margin,
        margin_without_samples=margin,
        few_class_min_gain=max(margin, settings.few_class_min_gain),
        few_class_margin=max(margin, settings.few_class_margin),
    )


def _store_patch(folder: Path, bundle: Bundle, patch: calibration.Patch) -> str:
    """Write the patch, the patched model and its answers to the golden pictures; gives the model's hash."""
    folder.mkdir()
    patch.save(folder / "patch.safetensors")
    patched = _patched_files(bundle, patch)
    model_files.write(folder / f"model{model_files.suffix(patched)}", patched)
    engine = open_bundle_engine(bundle, ThreadPlan(1, 1, "patch"), model=patched, patch=patch)
    safetensors.numpy.save_file(answer_golden_inputs(bundle, engine), folder / ANSWERS_FILE)
    engine.close()
    return patched.sha256


def _patched_files(bundle: Bundle, patch: calibration.Patch) -> ModelFiles:
    return calibration.patched(bundle.model_files, patch).files


def _prepare(request: JobRequest, bundle: Bundle, pictures: BinaryIO | None) -> Prepared:
    limits = PictureLimits(request.pictures.max_pixels, request.pictures.max_file_mib << 20)
    preprocessor, reference = make_preprocessor(bundle.manifest.preprocess, limits), request.reference
    live = None if pictures is None else _prepare_live(preprocessor, pictures)
    if reference.folder is not None:
        x, y = read_reference_folder(reference.folder, preprocessor, bundle.labels, request.frames)
        if len(x) < request.settings.min_frames:
            least, found = request.settings.min_frames, f"{len(x)} {preprocessor.spec.noun}s"
            raise StateError(f"{reference.folder}: {found}; recalibration.min_frames is {least}")
        x = channels_first(x, preprocessor.spec)
        if reference.needs_live_frames:
            return Prepared(x, y, _require(live))
        return Prepared(x, y)
    return Prepared(_require(live))


def _prepare_live(preprocessor: Preprocessor, pictures: BinaryIO) -> NDArray[np.float32]:
    pixels = np.load(pictures, allow_pickle=False)
    x = np.empty((len(pixels), *preprocessor.spec.tensor_shape), np.float32)
    for i, picture in enumerate(pixels):
        x[i] = preprocessor.normalise(picture)
    return channels_first(x, preprocessor.spec)


def _require(live: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if live is None:
        raise StateError("no frames were handed over; expected the number of an open file after the folder")
    return live


def _limit_this_process(settings: RecalibrationConfig) -> None:
    """Low priority, a small share of a full box, bounded memory, and no file that is larger than that."""
    lower_priority()
    pace_main_thread(settings.timeout_s * _PACED_PART)
    for kind in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE):
        lower_limit(kind, settings.memory_mib * 2**20)


if __name__ == "__main__":
    with open(int(sys.argv[2]), "rb") if len(sys.argv) > 2 else contextlib.nullcontext() as handed:  # noqa: PTH123
        main(Path(sys.argv[1]), handed)
