"""Commands without a daemon: answer files, verify and inspect bundles, calibrate from folders of pictures or windows.

They use the daemon's own parts, so that an input gets the same answer in both.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import calibration
from calibration.errors import CalibrationError, DataError
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.sandbox_check import check_in_sandbox
from edge_runtime.bundles.self_test import SelfTestReport, run_one, self_test
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.datatypes import Frame, Rejected
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.engines.threads import choose_threads, cpu_budget
from edge_runtime.inference.postprocess.detections import answer_layout
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.preprocess import channels_first, make_preprocessor
from edge_runtime.inference.preprocess.input_files import list_frames
from edge_runtime.inference.preprocess.reference_folder import read_reference_folder
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec, find_obstacle_to_recalibration
from edge_runtime.messaging.encoding import encode_answer

MOST_REFERENCE = 512


def answer_files(bundle_path: Path, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """One answer a picture or window, in order; with ``from_s``, the seconds before it, where its file holds several.

    Raises:
        BundleError: the bundle cannot be used.
        EngineError: the engine failed.
    """
    bundle, engine, _ = _open(bundle_path)
    spec, answer = bundle.manifest.preprocess, make_answer_function(bundle, engine)
    preprocessor = make_preprocessor(spec)
    for path in files:
        frames = list(list_frames(path, preprocessor))
        for frame in frames:
            place = {"from_s": _begin_s(spec, frame)} if len(frames) > 1 else {}
            yield {spec.noun: str(path), **place, **_plain(answer(frame))}


def _begin_s(spec: PreprocessSpec, frame: Frame) -> float:
    return round(frame.seq * spec.input_hop / spec.input_rate_hz, 6) if isinstance(spec, SignalSpec) else 0.0


def make_answer_function(bundle: Bundle, engine: Engine) -> Callable[[Frame], Any]:
    """A function that answers a frame as the daemon does, or says why it was rejected."""
    preprocessor = make_preprocessor(bundle.manifest.preprocess)
    postprocessor = Postprocessor(bundle.manifest, bundle.labels)

    def answer(frame: Frame) -> Any:
        sample = preprocessor.prepare(frame)
        if isinstance(sample, Rejected):
            return sample
        return postprocessor.read(sample, run_one(engine, sample.tensor))

    return answer


def verify_bundle(bundle_path: Path, trust: Trust | None = None) -> dict[str, Any]:
    """Check the signature (with ``trust``), the hashes and the answers to the golden inputs.

    Raises:
        BundleError: they differ from the manifest.
    """
    bundle, _, report = _open(bundle_path, trust)
    return {
        "bundle": bundle.id,
        "ok": True,
        "signed_by": bundle.signed_by,
        f"{bundle.manifest.preprocess.noun}s": len(report.differences),
        "worst": report.worst,
        "tolerance": bundle.manifest.tolerance,
        "runs_on": report.runs_on,
    }


def _open(bundle_path: Path, trust: Trust | None = None) -> tuple[Bundle, Engine, SelfTestReport]:
    bundle = load_bundle(bundle_path, trust)
    check_in_sandbox(bundle)
    engine = open_bundle_engine(bundle, choose_threads(cpu_budget(), 1))
    return bundle, engine, self_test(bundle, engine)


def inspect_bundle(bundle_path: Path) -> dict[str, Any]:
    """The manifest, the sizes, and what recalibration can do with the model.

    Raises:
        BundleError: the bundle cannot be used.
    """
    bundle = load_bundle(bundle_path)
    check_in_sandbox(bundle)
    manifest = bundle.manifest.model_dump(mode="json", exclude={"files"})
    sizes = {name: (bundle.path / name).stat().st_size for name in sorted(bundle.manifest.files)}
    try:
        _require_one_input(bundle)
        calibratable = calibration.open_target(bundle.model_files).inspect()
    except (BundleError, CalibrationError) as err:
        calibratable = {"recalibration": f"not possible: {err}"}
    return {"bundle": bundle.id, "manifest": manifest, "size_bytes": sizes, "calibration": calibratable}


def calibrate_bundle(
    bundle_path: Path,
    healthy: Path | None,
    baseline_path: Path | None,
    reference: Path | None,
    out: Path | None,
    seed: int,
    tell: Callable[[str, float], None] = lambda _, __: None,
) -> dict[str, Any]:
    """Record a baseline from healthy inputs, recalibrate on reference inputs, or both.

    ``tell`` hears what is done now, and the share of it that is done, 0..1.

    Returns:
        The report; ``lines`` is the same for a person.

    Raises:
        BundleError: the bundle cannot be used.
        CalibrationError: a folder or the baseline cannot be used. A refusal by the gate is no error.
    """
    bundle = load_bundle(bundle_path)
    _require_one_input(bundle)
    check_in_sandbox(bundle)
    tell("recording the baseline" if healthy is not None else "reading the baseline", 0.0)
    baseline, lines = _baseline(bundle, healthy, baseline_path)
    noun = bundle.manifest.preprocess.noun
    if reference is None:
        if healthy is None:
            lines = [f"baseline of {baseline.count} healthy {noun}s; give --reference FOLDER to recalibrate"]
        return {"baseline": str(baseline_path), "frames": baseline.count, "lines": lines}
    preprocessor = make_preprocessor(bundle.manifest.preprocess)
    x, y = read_reference_folder(reference, preprocessor, bundle.labels, MOST_REFERENCE)
    options = calibration.Options(
        seed=seed,
        output=bundle.manifest.scores_output,
        layout=answer_layout(bundle.manifest.postprocess),
        first_taps=bundle.manifest.calibration.most_taps,
    )
    given = channels_first(x, preprocessor.spec)
    verdict = calibration.recalibrate(bundle.model_files, baseline, given, y, options, progress=tell)
    report, word = verdict.to_json(), "accepted" if verdict.accepted else "refused"
    lines += [f"{word}: {verdict.candidate} ({report['seconds']:.1f} s)"]
    lines += [f"  {reason}" for reason in verdict.reasons]
    if verdict.patch is not None and out is not None:
        verdict.patch.save(out)
        lines.append(f"patch written to {out} ({out.stat().st_size / 1024:.0f} KiB)")
    elif verdict.patch is not None:
        lines.append("patch not written; give --out FILE to keep it")
    return {**report, "lines": lines}


def _require_one_input(bundle: Bundle) -> None:
    obstacle = find_obstacle_to_recalibration(bundle.manifest.preprocess)
    if obstacle is not None:
        fix = "Serve it as it is; correct such a model where it is trained."
        raise BundleError(bundle.path, obstacle, "a model with one input", fix)


def _baseline(
    bundle: Bundle, healthy: Path | None, path: Path | None
) -> tuple[calibration.Baseline, list[str]]:
    noun = bundle.manifest.preprocess.noun
    if healthy is None:
        if path is None:
            fix = "Give --healthy FOLDER, or --baseline FILE from an earlier run."
            raise DataError(
                "calibrate",
                f"no healthy {noun}s and no baseline",
                "one of them",
                fix,
            )
        return calibration.Baseline.load(path), []
    preprocessor = make_preprocessor(bundle.manifest.preprocess)
    x, _ = read_reference_folder(healthy, preprocessor, bundle.labels, MOST_REFERENCE)
    baseline = calibration.profile(
        bundle.model_files,
        channels_first(x, preprocessor.spec),
        created_wall_s=time.time(),
        output=bundle.manifest.scores_output,
        layout=answer_layout(bundle.manifest.postprocess),
    )
    if path is not None:
        baseline.save(path)
    return baseline, [f"baseline of {len(x)} healthy {noun}s" + (f" written to {path}" if path else "")]


def _plain(answer: Any) -> dict[str, Any]:
    if isinstance(answer, Rejected):
        return {"rejected": str(answer.reason), "detail": answer.detail}
    if answer.outputs is not None:
        return {"outputs": {name: array.tolist() for name, array in answer.outputs.items()}}
    return encode_answer(answer)
