"""The answers of a model as numbers to watch, and the verdict that only the content has changed."""

import numpy as np
import pytest

from calibration.drift.monitor import DriftMonitor, DriftSettings
from calibration.outputs.detections import Detections
from calibration.stats.moments import ANSWERS_TAP, FrameMoments
from calibration.stats.output_features import answer_features, class_features, detection_features


def test_one_class_and_its_probability():
    values, ones = class_features(17, 0.9)
    assert values[0] == pytest.approx(np.log(2))
    assert values[1] == 0.9
    assert np.flatnonzero(values[2:]).tolist() == [1]
    assert (ones == 1).all()


def test_weak_detections_do_not_count():
    values, _ = detection_features([0.9, 0.7, 0.4])
    assert values[0] == pytest.approx(np.log(3))
    assert values[1] == pytest.approx(0.8)
    assert detection_features([])[0].tolist() == [0.0] * 18


def test_frames_of_both_kinds_of_models_are_stacked():
    classes = answer_features(np.array([[0.1, 0.9], [0.8, 0.2]]))
    assert classes.mean[1] == pytest.approx(class_features(0, 0.8)[0])
    found = Detections(
        np.zeros((2, 3, 4), np.float32),
        np.array([[0.9, 0.6, 0], [0, 0, 0]], np.float32),
        np.zeros((2, 3), np.int32),
    )
    assert answer_features(found).mean[0] == pytest.approx(detection_features([0.9, 0.6])[0], abs=1e-6)


class Site:
    """A steady sensor in front of changing content."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def frame(self, sure: float = 0.9, classes: int = 10) -> dict:
        look = self.rng.normal(0, 0.5, 8), np.exp(self.rng.normal(0, 0.3, 8))
        score = float(np.clip(self.rng.normal(sure, 0.05), 0, 1))
        return {"input": look, ANSWERS_TAP: class_features(int(self.rng.integers(classes)), score)}


def monitor() -> DriftMonitor:
    site = Site(0)
    frames = [site.frame() for _ in range(128)]
    parts = {
        tap: FrameMoments(np.stack([f[tap][0] for f in frames]), np.stack([f[tap][1] for f in frames]))
        for tap in frames[0]
    }
    return DriftMonitor({"input": parts["input"].pool()}, parts, DriftSettings(), np.random.default_rng(0))


@pytest.mark.parametrize("change", [{"sure": 0.5}, {"classes": 1}])
def test_moving_answers_behind_a_quiet_sensor_are_content_and_no_alarm(change):
    watch, site = monitor(), Site(1)
    statuses = [watch.update(site.frame(**change), float(i)) for i in range(100)]
    assert statuses[-1].verdict == "content"
    assert not any(status.alarm for status in statuses)


def test_usual_answers_are_healthy():
    watch, site = monitor(), Site(2)
    statuses = [watch.update(site.frame(), float(i)) for i in range(1000)]
    assert {status.verdict for status in statuses} == {"healthy"}


def test_frames_without_an_answer_are_watched_by_their_look_alone():
    watch, site = monitor(), Site(3)
    statuses = [watch.update({"input": site.frame()["input"]}, float(i)) for i in range(64)]
    assert statuses[-1].verdict == "healthy"
    assert statuses[-1].deep_score == 0.0
