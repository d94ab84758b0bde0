"""A detector from profile to patch, through the public functions and a real engine."""

from pathlib import Path

import numpy as np
import pytest

import calibration as c
from calibration.baseline.pooling import pool
from calibration.outputs.detections import Detections, shared_objects
from calibration.outputs.read import layout_of, read_answers
from calibration.search import making
from calibration.search.candidates import Candidate
from tests.support.onnx_nets import classifier, detector, hazy, pictures, street

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def baseline() -> c.Baseline:
    return c.profile(detector(), street(64))


def found(model: bytes, x: np.ndarray) -> Detections:
    outputs = c.open_target(model).runner()(x)
    answers = read_answers(outputs, layout_of(c.open_target(detector()).runner()(street(4))))
    assert isinstance(answers, Detections)
    return answers


def soft_f1(one: Detections, other: Detections) -> float:
    return float(2 * shared_objects(one, other).sum() / (one.objects().sum() + other.objects().sum()))


def test_a_drift_that_hides_objects_is_corrected(baseline: c.Baseline) -> None:
    model, x = detector(), street(64, seed=5)
    verdict = c.recalibrate(model, baseline, hazy(street(64, seed=3), 0.4, -0.2))
    assert verdict.accepted, verdict.reasons
    assert verdict.patch is not None
    healthy, drifted = found(model, x), hazy(x, 0.4, -0.2)
    assert soft_f1(found(model, drifted), healthy) < 0.5
    assert soft_f1(found(c.apply(model, verdict.patch), drifted), healthy) > 0.95
    assert "soft F1" in verdict.reasons[-1]


def test_a_baseline_of_another_layout_is_read_as_the_options_say(baseline: c.Baseline) -> None:
    assert baseline.healthy_samples is not None
    assert baseline.healthy_samples.layout == c.DetectionLayout(
        "columns", "found", box_format="cxcywh", nms_iou=0.5
    )
    shifted = c.Options(layout=c.DetectionLayout("columns", "found", box_format="xywh", nms_iou=0.5))
    verdict = c.recalibrate(detector(), baseline, hazy(street(64, seed=3), 0.4, -0.2), options=shifted)
    assert verdict.accepted, verdict.reasons
    assert verdict.scores[verdict.candidate]["fidelity"] > 0.9
    unfit = c.Options(layout=c.DetectionLayout("end2end", "found"))
    assert not c.recalibrate(
        detector(), baseline, hazy(street(64, seed=3), 0.4, -0.2), options=unfit
    ).accepted


def test_a_healthy_detector_is_left_alone(baseline: c.Baseline) -> None:
    assert not c.recalibrate(detector(), baseline, street(64, seed=7)).accepted


def test_healthy_detections_are_kept_in_the_file(tmp_path: Path, baseline: c.Baseline) -> None:
    baseline.save(tmp_path / "b")
    again = c.Baseline.load(tmp_path / "b").healthy_samples
    assert again is not None
    assert baseline.healthy_samples is not None
    assert again.layout == baseline.healthy_samples.layout
    assert again.detections is not None
    assert again.probabilities is None
    np.testing.assert_array_equal(again.detections.boxes, found(detector(), again.samples()).boxes)


def test_baselines_of_a_detector_are_pooled_with_their_detections(baseline: c.Baseline) -> None:
    other = c.profile(detector(), street(20, seed=9), healthy_samples=20)
    pooled = pool([baseline, other]).healthy_samples
    assert pooled is not None
    assert pooled.detections is not None
    assert len(pooled.detections) == len(pooled)
    assert soft_f1(found(detector(), pooled.samples()), pooled.detections) > 0.999


def test_without_healthy_frames_a_detector_is_not_judged(baseline: c.Baseline) -> None:
    verdict = c.recalibrate(detector(), baseline.without_samples(), hazy(street(32, seed=3), 0.8, 0.1))
    assert not verdict.accepted
    assert "simulated" in verdict.reasons[-1]


def test_class_labels_mean_nothing_to_a_detector(baseline: c.Baseline) -> None:
    x = hazy(street(32, seed=3), 0.4, -0.2)
    with pytest.raises(c.DataError, match="detector"):
        c.recalibrate(detector(), baseline, x, np.zeros(32, np.int64))


def test_what_the_bundle_publishes_as_it_is_is_never_judged(baseline: c.Baseline) -> None:
    drifted = hazy(street(64, seed=3), 0.4, -0.2)
    verdict = c.recalibrate(detector(), baseline, drifted, options=c.Options(layout=c.NoAnswers.RAW))
    assert not verdict.accepted
    assert "as they are" in verdict.reasons[0]
    silent = c.profile(detector(), street(16), layout=c.NoAnswers.RAW)
    assert silent.healthy_samples is not None
    assert silent.healthy_samples.answers is None


def test_independent_labels_are_judged_as_sets_and_with_labels_one_by_one(tmp_path: Path) -> None:
    model, kind = classifier(seed=4), c.ClassScores.INDEPENDENT
    healthy = c.profile(model, pictures(64, seed=1), layout=kind)
    healthy.save(tmp_path / "b")
    again = c.Baseline.load(tmp_path / "b")
    drifted, options = hazy(pictures(64, seed=5), 0.4, 0.5), c.Options(layout=kind)
    verdict = c.recalibrate(model, again, drifted, options=options)
    assert verdict.accepted, verdict.reasons
    assert verdict.scores[verdict.candidate]["fidelity"] > 0.8
    [logits] = c.open_target(model).runner()(pictures(64, seed=5)).values()
    labelled = c.recalibrate(model, again, drifted, logits.argmax(axis=1).astype(np.int64), options)
    assert "accuracy" in labelled.scores[labelled.candidate]


def test_beside_distilled_patches_a_detector_keeps_all_candidates_by_moments(
    baseline: c.Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = list[bool](), making.candidates

    def spy(taps: int, most: int | None, *, are_distilled: bool = False) -> tuple[Candidate, ...]:
        asked.append(are_distilled)
        return real(taps, most, are_distilled=are_distilled)

    monkeypatch.setattr(making, "candidates", spy)
    verdict = c.recalibrate(detector(), baseline, hazy(street(64, seed=3), 0.4, -0.2))
    assert verdict.frames.distilled_from > 0
    assert asked == [False]
