"""The recalibration job's two kinds in this process, without the limits that only a separate process can have."""

import hashlib
import io
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
from edge_runtime.config import RecalibrationConfig, ReferenceConfig
from edge_runtime.inference.postprocess.detections import read_boxes
from edge_runtime.inference.specs import DetectionSpec
from edge_runtime.messaging.encoding import as_json, encode_object
from edge_runtime.recalibration.job import worker
from edge_runtime.recalibration.job.messages import REQUEST, RESULT, JobFailure, JobRequest
from edge_runtime.recalibration.reference.reservoir import InputMoments
from edge_runtime.recalibration.task import Cause, Kind
from tests.support.conveyor import conveyor_frames
from tests.support.onnx_nets import detector, street
from tests.support.paths import DEMO

pytestmark = pytest.mark.integration

BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"
DIGEST = worker.load_bundle(BUNDLE).manifest.sha256


def settings(**keys):
    """Nothing is distilled unless a test says so: on a busy machine that takes a minute."""
    keys = {"distillation": "off", **keys}
    return RecalibrationConfig(reference=ReferenceConfig(frames=48), memory_mib=4096, **keys)


def order(kind, folder, reference_folder=None, **keys):
    baseline = folder / "baseline.safetensors"
    return JobRequest(
        kind,
        Cause.COMMAND,
        12.0,
        BUNDLE,
        baseline,
        reference_folder,
        settings(**keys),
        BaselineFacts(),
        (),
        DIGEST,
    )


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch):
    monkeypatch.setattr(worker, "_limit_this_process", lambda memory_mib: None)


def run(folder, job, pixels=None):
    folder.mkdir(exist_ok=True)
    REQUEST.write(folder, job)
    pictures = None
    if pixels is not None:
        pictures = io.BytesIO()
        np.save(pictures, pixels, allow_pickle=False)
        pictures.seek(0)
    worker.main(folder, pictures)
    return RESULT.read(folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the baseline of 64 healthy frames."""
    folder = tmp_path_factory.mktemp("site")
    limits, worker._limit_this_process = worker._limit_this_process, lambda memory_mib: None
    try:
        run(folder, order(Kind.COMMISSION, folder), conveyor_frames(64, 0))
    finally:
        worker._limit_this_process = limits
    return folder


def test_a_report_names_its_cause_and_an_accepted_patch_is_whole(site, tmp_path):
    job = order(Kind.RECALIBRATE, site)
    report = run(tmp_path / "job", job, conveyor_frames(48, 1000, "contrast"))
    assert (report.cause, report.at) == ("command", 12.0)
    patch = tmp_path / "job" / "patch"
    assert patch.is_dir() is report.accepted
    assert report.reasons
    if report.accepted:
        model = (patch / "model.onnx").read_bytes()
        assert hashlib.sha256(model).hexdigest() == report.model_sha256
        assert orjson.loads((patch / "report.json").read_bytes()) == orjson.loads(
            encode_object(as_json(report))
        )
        page = (patch / "report.html").read_text()
        assert "Recalibration of efficientnet-lite0/1" in page
        assert 0 < len(page) < 400_000
        assert page.count("data:image/jpeg") == 24


def test_a_healthy_site_gets_no_patch(site, tmp_path):
    report = run(tmp_path / "job", order(Kind.RECALIBRATE, site), conveyor_frames(48, 1000))
    assert report.accepted is False
    assert not (tmp_path / "job" / "patch").exists()
    left = tmp_path / "job" / "report"
    assert orjson.loads((left / "report.json").read_bytes()) == orjson.loads(encode_object(as_json(report)))
    assert "the model stays as it is" in (left / "report.html").read_text()


def test_no_candidate_corrects_more_taps_than_the_manifest_allows(site, tmp_path, monkeypatch):
    bundle = worker.load_bundle(BUNDLE)
    limited = bundle.manifest.model_copy(update={"calibration": CalibrationHints(first_taps=2)})
    monkeypatch.setattr(worker, "load_bundle", lambda path: replace(bundle, manifest=limited))
    job = replace(order(Kind.RECALIBRATE, site, distillation="short"), manifest_sha256=limited.sha256)
    report = run(tmp_path / "job", job, conveyor_frames(48, 1000, "contrast"))
    kinds = {re.sub(r", prior.*", "", name) for name in report.scores}
    unlimited = {"identity", "input", "input half-way"}
    distilled = {"distilled", "distilled half-way"}
    assert kinds - unlimited - distilled <= {"first 1 tap", "first 2 taps", "input + first 2 taps"}
    assert report.patch is None or report.patch.taps <= 3


def test_a_patch_beyond_the_envelope_of_the_bundle_is_refused_with_a_report(site, tmp_path, monkeypatch):
    bundle = worker.load_bundle(BUNDLE)
    hints = CalibrationHints(envelope=Envelope(largest_change=0.001))
    limited = bundle.manifest.model_copy(update={"calibration": hints})
    monkeypatch.setattr(worker, "load_bundle", lambda path: replace(bundle, manifest=limited))
    job = replace(order(Kind.RECALIBRATE, site), manifest_sha256=limited.sha256)
    report = run(tmp_path / "job", job, conveyor_frames(48, 1000, "contrast"))
    assert (report.accepted, report.patch, report.candidate) == (False, None, "identity")
    assert "largest_change" in report.reasons[0]
    assert not (tmp_path / "job" / "patch").exists()
    assert "largest_change" in (tmp_path / "job" / "report" / "report.html").read_text()


def test_a_margin_that_nothing_can_reach_refuses(site, tmp_path):
    job = order(Kind.RECALIBRATE, site, margin=1.0)
    assert run(tmp_path / "job", job, conveyor_frames(48, 1000, "contrast")).accepted is False


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


def test_where_no_picture_may_be_kept_a_job_works_without_witness_and_with_moments_alone(site, tmp_path):
    reference = ReferenceConfig(frames=48, pictures="never")
    private = RecalibrationConfig(reference=reference, memory_mib=4096)
    baseline = tmp_path / "healthy" / "baseline.safetensors"
    run(
        tmp_path / "healthy",
        JobRequest(
            Kind.COMMISSION, Cause.COMMAND, 0.0, BUNDLE, baseline, None, private, BaselineFacts(), (), DIGEST
        ),
        conveyor_frames(48, 0),
    )
    assert calibration.Baseline.load(baseline).healthy_samples is None
    further = (InputMoments((0.4, 0.4, 0.4), (0.1, 0.1, 0.1)),) * 20
    job = replace(order(Kind.RECALIBRATE, tmp_path / "healthy"), settings=private, further_input=further)
    report = run(tmp_path / "job", job, conveyor_frames(48, 1000, "contrast"))
    assert report.notes
    assert (report.frames.healthy_samples, report.frames.distilled_from) == (0, 0)
    assert list(tmp_path.rglob("*.npy")) == []
    [page] = tmp_path.rglob("report.html")
    assert "data:image/" not in page.read_text()


def test_a_bad_reference_folder_is_an_outcome(site, tmp_path):
    outcome = run(tmp_path / "job", order(Kind.RECALIBRATE, site, reference_folder=tmp_path / "missing"))
    assert outcome.error


def test_a_model_in_which_nothing_can_be_corrected_is_told_as_a_lasting_failure(tmp_path, monkeypatch):
    def refuse(*_args, **_keys):
        raise ModelError(
            "model", "nothing in it can be recalibrated", "correctable layers", "Export it again."
        )

    monkeypatch.setattr(calibration, "profile", refuse)
    outcome = run(tmp_path, order(Kind.COMMISSION, tmp_path), conveyor_frames(8, 0))
    assert isinstance(outcome, JobFailure)
    assert outcome.is_lasting
    assert outcome.error


def test_pictures_that_show_nothing_are_no_lasting_failure(tmp_path):
    outcome = run(tmp_path, order(Kind.COMMISSION, tmp_path), np.zeros((8, 224, 224, 3), np.uint8))
    assert "one colour" in outcome.error
    assert outcome.is_lasting is False


def test_a_few_pictures_over_and_over_are_no_baseline(tmp_path):
    outcome = run(tmp_path, order(Kind.COMMISSION, tmp_path), np.tile(conveyor_frames(5, 0), (4, 1, 1, 1)))
    assert isinstance(outcome, JobFailure)
    assert "5 of 20" in outcome.error
    assert not (tmp_path / "baseline.safetensors").exists()


def test_the_answers_are_read_from_the_output_that_the_bundle_names(tmp_path):
    bundle = with_auxiliary_output(tmp_path / "bundle")
    digest = worker.load_bundle(bundle).manifest.sha256
    job = replace(order(Kind.COMMISSION, tmp_path), bundle=bundle, manifest_sha256=digest)
    run(tmp_path, job, conveyor_frames(48, 0))
    baseline = calibration.Baseline.load(tmp_path / "baseline.safetensors")
    assert baseline.output == "logits"
    assert baseline.healthy_samples.answers is not None
    again = replace(order(Kind.RECALIBRATE, tmp_path), bundle=bundle, manifest_sha256=digest)
    report = run(tmp_path / "again", again, conveyor_frames(48, 1000, "contrast"))
    assert "No candidate can be judged" not in report.reasons[0]


def test_a_job_refuses_a_bundle_that_took_the_place_of_the_one_that_answers(tmp_path):
    """Consistent in itself, so that no hash of a file betrays it."""
    bundle = with_auxiliary_output(tmp_path / "bundle")
    for kind in Kind:
        run(tmp_path / kind, replace(order(kind, tmp_path), bundle=bundle), conveyor_frames(8, 0))
        outcome = RESULT.read(tmp_path / kind)
        assert isinstance(outcome, JobFailure)
        assert str(bundle) in outcome.error
        assert not (tmp_path / kind / "baseline.safetensors").exists()


def with_auxiliary_output(folder):
    """The demo's bundle with probabilities in addition to the logits, and the name of the logits in its manifest."""
    shutil.copytree(BUNDLE, folder)
    model, manifest = folder / "model.onnx", folder / "bundle.yaml"
    before = hashlib.sha256(model.read_bytes()).hexdigest()
    proto = onnx.load(model)
    [scores] = proto.graph.output
    proto.graph.node.append(helper.make_node("Softmax", [scores.name], ["prob"], axis=1))
    proto.graph.output.insert(0, helper.make_tensor_value_info("prob", onnx.TensorProto.FLOAT, None))
    onnx.save(proto, model)
    text = manifest.read_text().replace(before, hashlib.sha256(model.read_bytes()).hexdigest())
    manifest.write_text(text.replace("scores: logits}", f"scores: logits, output: {scores.name}}}"))
    return folder


def test_a_detector_is_judged_by_the_boxes_that_the_daemon_publishes(tmp_path, monkeypatch):
    spec = DetectionSpec(
        packing="columns", boxes="found", box_format="xywh", is_normalised=False, score_threshold=0.98
    )
    bundle = SimpleNamespace(
        model_files=ModelFiles(detector()),
        manifest=SimpleNamespace(sha256=DIGEST, scores_output=None, postprocess=spec),
    )
    monkeypatch.setattr(worker, "load_bundle", lambda path: bundle)
    monkeypatch.setattr(worker, "_prepare", lambda job, bundle, pictures: (street(48), None))
    run(tmp_path, order(Kind.COMMISSION, tmp_path))
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
