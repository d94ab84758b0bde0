"""The recalibration job's two kinds in this process, without the limits that only a separate process can have."""

import hashlib
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import orjson
import pytest
from onnx import helper

import calibration
from calibration.baseline.metadata import BaselineFacts
from calibration.errors import ModelError
from calibration.gate.classification import GateSettings
from calibration.search.distillation import DistillationSettings
from calibration.stats.moments import ANSWERS_TAP
from calibration.stats.output_features import detection_features
from calibration.targets.base import ModelFiles
from edge_runtime.bundles.manifest import CalibrationHints, Envelope
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import RecalibrationConfig, ReferenceConfig
from edge_runtime.inference.postprocess.detections import read_boxes
from edge_runtime.inference.specs import DetectionSpec
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.event_forms import as_data
from edge_runtime.recalibration.job import worker
from edge_runtime.recalibration.job.messages import (
    RESULT,
    CommissioningResult,
    JobFailure,
    JobRequest,
)
from edge_runtime.recalibration.reference.reservoir import InputMoments
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from tests.support.bundle_models import png
from tests.support.jobs import run_job
from tests.support.onnx_nets import detector, hazy, street
from tests.support.small_site import SIDE, frames_of, small_bundle

pytestmark = pytest.mark.integration


LIVE_FRAMES = ChosenReference()


def settings(**keys):
    return RecalibrationConfig(reference=ReferenceConfig(frames=48), **keys)


def order(kind, bundle, folder, reference=LIVE_FRAMES, **keys):
    """A job of ``bundle`` whose baseline is, or will be, in ``folder``."""
    return JobRequest(
        kind,
        Cause.COMMAND,
        12.0,
        bundle.path,
        folder / "baseline.safetensors",
        reference,
        48,
        settings(**keys),
        BaselineFacts(),
        (),
        bundle.manifest.sha256,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def site(bundle, tmp_path_factory):
    """A folder with the baseline of 96 healthy frames."""
    folder = tmp_path_factory.mktemp("site")
    assert isinstance(
        run_job(folder, order(Kind.COMMISSION, bundle, folder), frames_of(96, 1)), CommissioningResult
    )
    return folder


def drifted():
    """48 frames with a little haze: a patch helps, though less than a margin of 1 asks for."""
    return frames_of(48, 2, slightly_hazy)


def slightly_hazy(x):
    return hazy(x, keep=0.8, add=0.12)


def limit(bundle, monkeypatch, **hints):
    """The bundle as the job finds it, with these hints of its author."""
    limited = bundle.manifest.model_copy(update={"calibration": CalibrationHints(**hints)})
    changed = replace(bundle, manifest=limited)
    monkeypatch.setattr(worker, "load_bundle", lambda path: changed)
    return changed


def test_a_report_names_its_cause_and_an_accepted_patch_is_whole(bundle, site, tmp_path):
    report = run_job(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site), drifted())
    assert (report.cause, report.at) == ("command", 12.0)
    assert report.accepted
    assert report.reasons
    patch = tmp_path / "job" / "patch"
    model = (patch / "model.onnx").read_bytes()
    assert hashlib.sha256(model).hexdigest() == report.model_sha256
    assert orjson.loads((patch / "report.json").read_bytes()) == orjson.loads(encode_object(as_data(report)))
    page = (patch / "report.html").read_text()
    assert "Recalibration of small/1" in page
    assert 0 < len(page) < 400_000
    assert page.count("data:image/png") == 24


def test_a_healthy_site_gets_no_patch(bundle, site, tmp_path):
    report = run_job(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site), frames_of(48, 2))
    assert report.accepted is False
    assert not (tmp_path / "job" / "patch").exists()
    left = tmp_path / "job" / "report"
    assert orjson.loads((left / "report.json").read_bytes()) == orjson.loads(encode_object(as_data(report)))
    assert "the model stays as it is" in (left / "report.html").read_text()


def test_no_candidate_corrects_more_taps_than_the_manifest_allows(bundle, site, tmp_path, monkeypatch):
    limited = limit(bundle, monkeypatch, first_taps=2)
    report = run_job(tmp_path / "job", order(Kind.RECALIBRATE, limited, site), drifted())
    kinds = {re.sub(r", prior.*", "", name) for name in report.scores}
    unlimited = {"identity", "input", "input half-way"}
    distilled = {"distilled", "distilled half-way"}
    assert distilled <= kinds
    assert kinds - unlimited - distilled <= {"first 1 tap", "first 2 taps", "input + first 2 taps"}
    assert report.patch is None or report.patch.taps <= 3


def test_a_patch_beyond_the_envelope_of_the_bundle_is_refused_with_a_report(
    bundle, site, tmp_path, monkeypatch
):
    limited = limit(bundle, monkeypatch, envelope=Envelope(largest_change=0.001))
    report = run_job(tmp_path / "job", order(Kind.RECALIBRATE, limited, site), drifted())
    assert (report.accepted, report.patch, report.candidate) == (False, None, "identity")
    assert "largest_change" in report.reasons[0]
    assert not (tmp_path / "job" / "patch").exists()
    assert "largest_change" in (tmp_path / "job" / "report" / "report.html").read_text()


def test_a_margin_that_nothing_can_reach_refuses(bundle, site, tmp_path):
    job = order(Kind.RECALIBRATE, bundle, site, margin=1.0)
    assert run_job(tmp_path / "job", job, drifted()).accepted is False


def test_a_small_margin_does_not_loosen_the_gate_where_few_classes_are_in_view():
    loose = worker.apply_margin(GateSettings(), 0.01)
    assert (loose.min_evidence, loose.min_gain, loose.margin_without_samples) == (0.01, 0.01, 0.01)
    assert loose.few_class_min_gain == GateSettings().few_class_min_gain


def test_the_strictness_is_a_factor_on_every_gain_that_the_gate_asks_for():
    shipped = worker.choose_options(settings(distillation="full"))
    assert shipped == replace(shipped, gate_settings=GateSettings())
    strict = worker.choose_options(settings(strictness=2.0))
    assert strict.gate_settings.min_evidence == 2 * GateSettings().min_evidence
    assert strict.gate_settings.few_class_min_gain == 2 * GateSettings().few_class_min_gain
    assert strict.detection_gate_settings.min_gain == 2 * shipped.detection_gate_settings.min_gain
    loose = worker.choose_options(settings(strictness=0.5)).gate_settings
    assert loose.min_gain == 0.5 * GateSettings().min_gain
    assert loose.few_class_margin == GateSettings().few_class_margin


@pytest.mark.parametrize(("word", "steps"), [("full", 18), ("short", 9), ("off", 0)])
def test_the_configuration_says_how_long_patches_are_distilled(word, steps):
    options = worker.choose_options(settings(distillation=word))
    assert options.distillation == replace(DistillationSettings(), steps=steps)


def test_a_request_that_cannot_be_read_is_told_with_its_field(tmp_path):
    (tmp_path / "job.json").write_bytes(b'{"kind": "paint"}')
    worker.main(tmp_path)
    outcome = RESULT.read(tmp_path)
    assert isinstance(outcome, JobFailure)
    assert "kind" in outcome.error
    assert "bundle" in outcome.error


def test_where_no_picture_may_be_kept_a_job_works_without_witness_and_with_moments_alone(bundle, tmp_path):
    private = RecalibrationConfig(reference=ReferenceConfig(frames=48, pictures="never"))
    healthy = tmp_path / "healthy"
    run_job(healthy, replace(order(Kind.COMMISSION, bundle, healthy), settings=private), frames_of(96, 1))
    assert calibration.Baseline.load(healthy / "baseline.safetensors").healthy_samples is None
    further = (InputMoments((0.4, 0.4, 0.4), (0.1, 0.1, 0.1)),) * 20
    job = replace(order(Kind.RECALIBRATE, bundle, healthy), settings=private, further_input=further)
    report = run_job(tmp_path / "job", job, drifted())
    assert report.notes
    assert (report.frames.healthy_samples, report.frames.distilled_from) == (0, 0)
    assert list(tmp_path.rglob("*.npy")) == []
    [page] = tmp_path.rglob("report.html")
    assert "data:image/" not in page.read_text()


def test_a_bad_reference_folder_is_an_outcome(bundle, site, tmp_path):
    job = order(Kind.RECALIBRATE, bundle, site, reference=ChosenReference("folder", tmp_path / "missing"))
    assert run_job(tmp_path / "job", job).error


def write_pictures(folder, pictures):
    folder.mkdir()
    for i, picture in enumerate(pictures):
        (folder / f"{i:03}.png").write_bytes(png(picture))
    return ChosenReference("haze", folder)


def test_a_set_by_name_makes_a_patch_where_the_cameras_show_the_same_drift(bundle, site, tmp_path):
    reference = write_pictures(tmp_path / "set", frames_of(48, 5, slightly_hazy))
    report = run_job(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site, reference=reference), drifted())
    assert (report.accepted, report.reference, report.dry_run) == (True, "haze", False)
    seen = calibration.Baseline.load(tmp_path / "job" / "patch" / "observed.safetensors")
    assert seen.count == 48
    assert str(reference.folder) in (tmp_path / "job" / "patch" / "report.html").read_text()


def test_a_set_by_name_is_refused_where_the_cameras_show_another_drift(bundle, site, tmp_path):
    reference = write_pictures(tmp_path / "set", frames_of(48, 5, slightly_hazy))
    live = frames_of(48, 2, lambda x: 1 - x)
    report = run_job(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site, reference=reference), live)
    assert (report.accepted, report.patch, report.candidate) == (False, None, "identity")
    assert report.scores
    assert not (tmp_path / "job" / "patch").exists()


def test_a_folder_of_fewer_pictures_than_a_recalibration_needs_is_a_failure(bundle, site, tmp_path):
    reference = write_pictures(tmp_path / "set", frames_of(31, 5, slightly_hazy))
    outcome = run_job(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site, reference=reference), drifted())
    assert isinstance(outcome, JobFailure)
    assert "31 pictures" in outcome.error


def test_a_damaged_picture_of_a_set_is_named(bundle, site, tmp_path):
    reference = write_pictures(tmp_path / "set", frames_of(48, 5, slightly_hazy))
    (reference.folder / "007.png").write_bytes(b"no picture")
    outcome = run_job(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site, reference=reference), drifted())
    assert isinstance(outcome, JobFailure)
    assert "1 pictures cannot be used: 007.png" in outcome.error


def test_a_dry_run_leaves_its_report_where_no_patch_is(bundle, site, tmp_path):
    job = replace(order(Kind.RECALIBRATE, bundle, site), is_dry_run=True)
    report = run_job(tmp_path / "job", job, drifted())
    assert (report.accepted, report.dry_run) == (True, True)
    assert (tmp_path / "job" / "report" / "report.json").is_file()
    page = (tmp_path / "job" / "report" / "report.html").read_text()
    assert "Dry run of a recalibration of small/1" in page
    assert "send rollback" not in page


def test_a_model_in_which_nothing_can_be_corrected_is_told_as_a_lasting_failure(
    bundle, tmp_path, monkeypatch
):
    def refuse(*_args, **_keys):
        raise ModelError(
            "model", "nothing in it can be recalibrated", "correctable layers", "Export it again."
        )

    monkeypatch.setattr(calibration, "profile", refuse)
    outcome = run_job(tmp_path, order(Kind.COMMISSION, bundle, tmp_path), frames_of(8, 1))
    assert isinstance(outcome, JobFailure)
    assert outcome.is_lasting
    assert outcome.error


def test_pictures_that_show_nothing_are_no_lasting_failure(bundle, tmp_path):
    nothing = np.zeros((8, SIDE, SIDE, 3), np.uint8)
    outcome = run_job(tmp_path, order(Kind.COMMISSION, bundle, tmp_path), nothing)
    assert "one colour" in outcome.error
    assert outcome.is_lasting is False


def test_a_few_pictures_over_and_over_are_no_baseline(bundle, tmp_path):
    job = order(Kind.COMMISSION, bundle, tmp_path)
    outcome = run_job(tmp_path, job, np.tile(frames_of(5, 1), (4, 1, 1, 1)))
    assert isinstance(outcome, JobFailure)
    assert "5 of 20" in outcome.error
    assert not (tmp_path / "baseline.safetensors").exists()


def test_the_answers_are_read_from_the_output_that_the_bundle_names(bundle, tmp_path):
    named = with_auxiliary_output(bundle, tmp_path / "bundle")
    run_job(tmp_path, order(Kind.COMMISSION, named, tmp_path), frames_of(96, 1))
    baseline = calibration.Baseline.load(tmp_path / "baseline.safetensors")
    assert baseline.output == "logits"
    assert baseline.healthy_samples.answers is not None
    report = run_job(tmp_path / "again", order(Kind.RECALIBRATE, named, tmp_path), drifted())
    assert "No candidate can be judged" not in report.reasons[0]


def test_a_job_refuses_a_bundle_that_took_the_place_of_the_one_that_answers(bundle, tmp_path):
    """Consistent in itself, so that no hash of a file betrays it."""
    other = with_auxiliary_output(bundle, tmp_path / "bundle")
    for kind in Kind:
        job = replace(order(kind, bundle, tmp_path), bundle=other.path)
        outcome = run_job(tmp_path / kind, job, frames_of(8, 1))
        assert isinstance(outcome, JobFailure)
        assert str(other.path) in outcome.error
        assert not (tmp_path / kind / "baseline.safetensors").exists()


def with_auxiliary_output(bundle, folder):
    """The bundle with probabilities in addition to the logits, and the name of the logits in its manifest."""
    shutil.copytree(bundle.path, folder)
    model, manifest = folder / "model.onnx", folder / "bundle.yaml"
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    proto = onnx.load(model)
    [scores] = proto.graph.output
    proto.graph.node.append(helper.make_node("Softmax", [scores.name], ["prob"], axis=1))
    proto.graph.output.insert(0, helper.make_tensor_value_info("prob", onnx.TensorProto.FLOAT, None))
    onnx.save(proto, model)
    text = manifest.read_text().replace(before, hashlib.sha256(model.read_bytes()).hexdigest())
    assert "scores: logits" in text
    manifest.write_text(text.replace("scores: logits", f"scores: logits, output: {scores.name}"))
    return load_bundle(folder)


def test_a_detector_is_judged_by_the_boxes_that_the_daemon_publishes(bundle, tmp_path, monkeypatch):
    spec = DetectionSpec(
        packing="columns", boxes="found", box_format="xywh", is_normalised=False, score_threshold=0.98
    )
    of_boxes = SimpleNamespace(
        path=bundle.path,
        model_files=ModelFiles(detector()),
        manifest=SimpleNamespace(sha256=bundle.manifest.sha256, scores_output=None, postprocess=spec),
    )
    monkeypatch.setattr(worker, "load_bundle", lambda path: of_boxes)
    monkeypatch.setattr(worker, "_prepare", lambda job, bundle, pictures: worker.Prepared(street(48)))
    run_job(tmp_path, order(Kind.COMMISSION, of_boxes, tmp_path))
    baseline = calibration.Baseline.load(tmp_path / "baseline.safetensors")
    kept, features = baseline.healthy_samples, baseline.frames[ANSWERS_TAP].mean
    outputs = calibration.open_target(detector()).runner()(kept.samples())
    inferred = calibration.profile(detector(), street(48)).healthy_samples.layout
    assert inferred.box_format == "cxcywh"
    for i, found in enumerate(kept.detections.boxes):
        published = read_boxes(spec, {"found": outputs["found"][i]}, (32, 32), None)
        is_published = kept.detections.scores[i] >= spec.score_threshold
        np.testing.assert_allclose(found[is_published].clip(0, 32), published.corners)
        np.testing.assert_allclose(features[i], detection_features(published.scores)[0])
