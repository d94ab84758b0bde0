"""The recalibration process: ``python -m edge_runtime.recalibration.job.worker FOLDER`` (started by ``job_process``).

Two jobs: *commission* turns healthy frames into a baseline and a probe model; *recalibrate* turns a reference set into
a verdict with its report and, if the gate accepts, a patch with the patched model beside it. It runs at low priority,
within a memory limit, and touches only its own folder: the daemon moves results into place.

The last file written is ``outcome.json``. A refusal by the gate is an outcome, not an error.
"""

import contextlib
import ctypes
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import safetensors.numpy
from numpy.typing import NDArray

import calibration
from calibration.baseline.metadata import BaselineFacts
from calibration.errors import CalibrationError, ModelError
from calibration.gate.classification import GateSettings
from calibration.stats.moments import FrameMoments
from calibration.targets import model_files
from edge_runtime.bundles.engine import engine_of
from edge_runtime.bundles.self_test import patched_answers
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.config import RecalibrationConfig
from edge_runtime.deployment.model_state import ANSWERS_FILE
from edge_runtime.errors import EdgeRuntimeError, StateError
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.postprocess.detections import answer_layout
from edge_runtime.inference.preprocess import Preprocessor, channels_first
from edge_runtime.inference.preprocess.image_folder import read_reference_folder
from edge_runtime.recalibration.job.report import leave_report
from edge_runtime.recalibration.reference.reservoir import InputMoments
from edge_runtime.recalibration.task import Kind, Task
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.priority import idle_cores, lower_priority

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Prepared:
    """Frames ready for the model: ``x`` float32 (N,C,H,W), ``y`` int64 (N,) or None."""

    x: NDArray[np.float32]
    y: NDArray[np.int64] | None


def job_order(
    task: Task,
    settings: RecalibrationConfig,
    bundle: Path,
    baseline: Path,
    reference_folder: Path | None,
    at_wall_s: float,
    further: Sequence[InputMoments] = (),
    facts: BaselineFacts | None = None,
) -> dict[str, Any]:
    """What the daemon writes into ``job.json`` and :func:`main` reads.

    ``further`` are moments of samples of which no picture may be kept; they join in the correction of the input.
    """
    return {
        "kind": task.kind,
        "cause": task.cause,
        "at": at_wall_s,
        "facts": (facts or BaselineFacts()).to_json(),
        "bundle": str(bundle),
        "baseline": str(baseline),
        "reference_folder": None if reference_folder is None else str(reference_folder),
        "most": settings.reference.frames,
        "keep_pictures": settings.reference.pictures == "keep",
        "further_input": [[one.mean, one.var] for one in further],
        "memory_mib": settings.memory_mib,
        "margin": settings.margin,
        "threads": 1,
        "seed": 0,
    }


def main(folder: Path, pictures: BinaryIO | None = None) -> int:
    """Do the job in ``folder``; gives the exit code (0 also when the gate refused).

    Args:
        folder: With ``job.json``; takes ``outcome.json`` and what the job makes.
        pictures: Live frames, uint8 (N,H,W,C) in numpy's file format; None where the job names a reference folder.
    """
    job = orjson.loads((folder / "job.json").read_bytes())
    _step_back(job["memory_mib"])
    try:
        work = _commission if job["kind"] == Kind.COMMISSION else _recalibrate
        outcome = work(folder, job, pictures)
    except (CalibrationError, EdgeRuntimeError) as err:
        outcome = {"error": str(err), "is_lasting": isinstance(err, ModelError)}
    except MemoryError:
        error = f"needs more than recalibration.memory_mib = {job['memory_mib']}"
        outcome = {"error": error, "is_lasting": True}
    write_atomically(folder / "outcome.json", orjson.dumps(outcome, option=orjson.OPT_SERIALIZE_NUMPY))
    return 0


def _commission(folder: Path, job: dict[str, Any], pictures: BinaryIO | None) -> dict[str, Any]:
    bundle = load_bundle(Path(job["bundle"]))
    frames = _prepare(job, bundle, pictures)
    model = bundle.model_files
    baseline = calibration.profile(
        model,
        frames.x,
        threads=job["threads"],
        created_wall_s=job["at"],
        facts=BaselineFacts.from_json(job["facts"]),
        output=bundle.manifest.scores_output,
        layout=answer_layout(bundle.manifest.postprocess),
    )
    if not job["keep_pictures"]:
        baseline = baseline.without_witness()
    baseline.save(folder / "baseline.safetensors")
    probe = calibration.probe_files(model)
    model_files.write(folder / f"probe{model_files.suffix(probe)}", probe)
    return {
        "frames": len(frames.x),
        "taps": len(baseline.moments),
        "effective_frames": round(baseline.effective_count, 1),
    }


def _recalibrate(folder: Path, job: dict[str, Any], pictures: BinaryIO | None) -> dict[str, Any]:
    bundle = load_bundle(Path(job["bundle"]))
    baseline = calibration.Baseline.load(Path(job["baseline"]))
    frames = _prepare(job, bundle, pictures)
    options = calibration.Options(
        threads=job["threads"],
        seed=job["seed"],
        output=bundle.manifest.scores_output,
        layout=answer_layout(bundle.manifest.postprocess),
    )
    if job["margin"] is not None:
        options = replace(
            options,
            gate_settings=with_margin(options.gate_settings, job["margin"]),
            detection_gate_settings=replace(options.detection_gate_settings, min_gain=job["margin"]),
        )
    further = np.asarray(job["further_input"], np.float64)  # (M, 2, C)
    moments = FrameMoments(further[:, 0], further[:, 1]) if len(further) else None
    verdict = calibration.recalibrate(bundle.model_files, baseline, frames.x, frames.y, options, moments)
    report: dict[str, Any] = {**verdict.to_json(), "cause": job["cause"], "at": job["at"]}
    place = folder / ("report" if verdict.patch is None else "patch")
    if verdict.patch is not None:
        report["model_sha256"] = _store_patch(folder / "patch", bundle, verdict.patch)
        if job["reference_folder"] is None:  # a folder stands for the site in general, not for a drift
            seen = calibration.snapshot(bundle.model_files, frames.x, threads=job["threads"])
            seen.save(folder / "patch" / "observed.safetensors")
    leave_report(place, report, bundle, baseline, frames.x, verdict, job)
    return report


def with_margin(settings: GateSettings, margin: float) -> GateSettings:
    """The gate with an operator's margin; where few classes are in view it may only become stricter."""
    return replace(
        settings,
        min_evidence=margin,
        min_gain=margin,
        margin_without_witness=margin,
        few_class_min_gain=max(margin, settings.few_class_min_gain),
        few_class_margin=max(margin, settings.few_class_margin),
    )


def _store_patch(folder: Path, bundle: Bundle, patch: calibration.Patch) -> str:
    """The patch, the patched model, and what that says to the golden pictures; gives the model's hash."""
    folder.mkdir()
    patch.save(folder / "patch.safetensors")
    patched = calibration.patched(bundle.model_files, patch).files
    model_files.write(folder / f"model{model_files.suffix(patched)}", patched)
    engine = engine_of(bundle, ThreadPlan(1, 1, "patch"), model=patched)
    safetensors.numpy.save_file(patched_answers(bundle, engine), folder / ANSWERS_FILE)
    engine.close()
    return patched.sha256


def _prepare(job: dict[str, Any], bundle: Bundle, pictures: BinaryIO | None) -> Prepared:
    preprocessor = Preprocessor(bundle.manifest.preprocess)
    if job["reference_folder"] is not None:
        x, y = read_reference_folder(Path(job["reference_folder"]), preprocessor, bundle.labels, job["most"])
        return Prepared(x, y)
    if pictures is None:
        raise StateError("no frames were handed over; expected the number of an open file after the folder")
    pixels = np.load(pictures, allow_pickle=False)
    x = np.stack([preprocessor.normalise(picture) for picture in pixels])
    return Prepared(channels_first(x, bundle.manifest.preprocess), None)


def _step_back(memory_mib: int) -> None:
    """Low priority, bounded memory, and no life without the parent."""
    lower_priority(idle_cores())
    limit = memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with contextlib.suppress(OSError, AttributeError):  # not Linux: the parent's deadline is all there is
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    with open(int(sys.argv[2]), "rb") if len(sys.argv) > 2 else contextlib.nullcontext() as handed:  # noqa: PTH123
        sys.exit(main(Path(sys.argv[1]), handed))
