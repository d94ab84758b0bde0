"""Behaviours of the drift monitor, on simulated single-frame moments with content that varies from frame to frame."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from calibration.drift.mahalanobis import Scaling
from calibration.drift.monitor import DriftMonitor, DriftSettings, DriftStatus
from calibration.drift.tap_group import HealthyFrames
from calibration.errors import DataError, TapMismatch
from calibration.stats.moments import ANSWERS_TAP, FrameMoments, Moments
from calibration.stats.output_features import class_features

CHANNELS = {"input": 3, "conv1": 64, ANSWERS_TAP: 12}
CLASSES = 10


class Camera:
    """Frames whose moments vary with the class shown, plus a little of their own."""

    def __init__(
        self,
        seed: int = 0,
        memory: float = 0.0,
        offset: float = 0.0,
        scale: float = 1.0,
        variety: float = 0.4,
    ) -> None:
        rng = np.random.default_rng(99)
        self.mean_of_class = {t: rng.normal(0, variety, (CLASSES, c)) for t, c in CHANNELS.items()}
        self.contrast_of_class = {t: rng.normal(0, variety / 2, (CLASSES, c)) for t, c in CHANNELS.items()}
        self.rng, self.memory, self.offset, self.scale = np.random.default_rng(seed), memory, offset, scale
        self.now = 0

    def frame(self, shift: float = 0.0, classes: int = CLASSES, deep_shift: float = 0.0) -> dict:
        if self.rng.random() >= self.memory:
            self.now = int(self.rng.integers(classes))
        moments = {}
        for tap, c in CHANNELS.items():
            mean = self.mean_of_class[tap][self.now] + self.rng.normal(0, 0.1, c)
            mean = mean + (deep_shift if tap == ANSWERS_TAP else shift)
            var = np.exp(2 * (self.contrast_of_class[tap][self.now] + self.rng.normal(0, 0.05, c)))
            moments[tap] = (mean * self.scale + self.offset, var * self.scale**2)
        return moments

    def frames(self, count: int, **kind: float) -> list[dict]:
        return [self.frame(**kind) for _ in range(count)]


def baseline(frames: list[dict], taps: tuple[str, ...] = ("input", "conv1")) -> tuple[Moments, dict]:
    per_frame = {
        tap: FrameMoments(np.stack([f[tap][0] for f in frames]), np.stack([f[tap][1] for f in frames]))
        for tap in taps
    }
    return Moments({tap: m.pool() for tap, m in per_frame.items()}), per_frame


def monitor(count: int = 128, camera: Camera | None = None, seed: int = 0, **settings: float) -> DriftMonitor:
    healthy = (camera or Camera()).frames(count)
    return DriftMonitor(*baseline(healthy), replace(DriftSettings(), **settings), np.random.default_rng(seed))


def play(watch: DriftMonitor, frames: list[dict], start_s: float = 0.0) -> list[DriftStatus]:
    return [watch.update(frame, start_s + i) for i, frame in enumerate(frames)]


@pytest.mark.integration
@pytest.mark.parametrize("count", [16, 64, 256])
def test_healthy_frames_never_alarm(count):
    statuses = play(monitor(count), Camera(seed=1).frames(3000))
    assert not any(s.sustained for s in statuses)
    assert statuses[-1].verdict == "healthy"


@pytest.mark.integration
@pytest.mark.parametrize("classes", [1, 2])
def test_a_healthy_scene_with_few_classes_does_not_alarm(classes):
    for seed in range(5):
        statuses = play(monitor(128, seed=seed), Camera(seed=seed).frames(200, classes=classes))
        assert not any(s.alarm for s in statuses)


@pytest.mark.parametrize("count", [16, 64, 256])
def test_a_sensor_drift_alarms_within_64_frames_and_once(count):
    watch = monitor(count)
    play(watch, Camera(seed=1).frames(100))
    statuses = play(watch, Camera(seed=2).frames(200, shift=0.8), start_s=100)
    alarms = [i for i, s in enumerate(statuses) if s.alarm]
    assert len(alarms) == 1
    assert alarms[0] < 64
    assert statuses[-1].verdict == "sensor"
    assert statuses[-1].score > statuses[-1].threshold


def test_drift_is_over_when_the_score_returns_and_alarms_again_after_the_cool_down():
    watch = monitor(cooldown_s=300.0)
    play(watch, Camera(seed=1).frames(64, shift=0.5))
    healthy = play(watch, Camera(seed=2).frames(300), start_s=64)
    assert healthy[0].sustained
    assert not healthy[-1].sustained
    again = play(watch, Camera(seed=3).frames(64, shift=0.5), start_s=364)
    assert sum(s.alarm for s in again) == 1


def test_alarms_repeat_only_after_the_cool_down_while_drift_lasts():
    watch = monitor(cooldown_s=100.0)
    statuses = play(watch, Camera(seed=1).frames(400, shift=0.5))
    times = [i for i, s in enumerate(statuses) if s.alarm]
    assert len(times) == 4
    assert all(b - a >= 100 for a, b in pairwise(times))


def test_a_small_lasting_shift_is_found_by_the_cusum_below_the_threshold():
    watch = monitor(256, Camera(variety=0.02))
    statuses = play(watch, Camera(seed=1, variety=0.02).frames(2000, shift=0.04))
    assert np.mean([s.score for s in statuses]) < statuses[0].threshold
    fired = [s for s in statuses if s.cusum > s.cusum_threshold]
    assert fired
    assert all(s.sustained for s in fired)


def test_moving_deep_layers_behind_quiet_shallow_ones_are_content():
    healthy = Camera().frames(128)
    watch = DriftMonitor(*baseline(healthy, tuple(CHANNELS)), DriftSettings(), np.random.default_rng(0))
    status = play(watch, Camera(seed=1).frames(100, deep_shift=0.8))[-1]
    assert status.verdict == "content"
    assert not status.sustained
    assert status.deep_score > status.deep_threshold


def answered(frames: list[dict], classes: int, seed: int = 0) -> list[dict]:
    """The frames with the answers of a classifier that sees ``classes`` classes."""
    rng = np.random.default_rng(seed)
    return [{**frame, ANSWERS_TAP: class_features(int(rng.integers(classes)), 0.9)} for frame in frames]


def classifier_monitor() -> DriftMonitor:
    healthy = answered(Camera().frames(128), CLASSES)
    return DriftMonitor(*baseline(healthy, tuple(CHANNELS)), DriftSettings(), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("shift", "classes", "expected"),
    [
        (0.5, CLASSES, "sensor"),  # all products shifted: the camera
        (0.25, 1, "content"),  # one product, and not farther than a product can be
        (0.5, 1, "sensor"),  # a drift may make a model give one answer to everything
        (5.0, 1, "sensor"),  # no product explains that: a covered lens
        (0.0, 1, "healthy"),
    ],
)
def test_a_shift_that_few_contents_explain_is_content(shift, classes, expected):
    watch = classifier_monitor()
    statuses = play(watch, answered(Camera(seed=1).frames(64, shift=shift), classes, seed=1))
    assert any(status.alarm for status in statuses) is (expected == "sensor")
    if expected != "healthy":
        assert statuses[-1].verdict == expected
    assert (statuses[-1].threshold > 1.0) is (classes == 1)


def test_a_drift_is_not_over_because_one_product_is_shown():
    watch = classifier_monitor()
    assert play(watch, answered(Camera(seed=1).frames(64, shift=0.5), CLASSES))[-1].sustained
    statuses = play(watch, answered(Camera(seed=2).frames(200, shift=0.25), 1), start_s=64)
    assert statuses[-1].score < statuses[-1].threshold
    assert all(status.sustained for status in statuses)


def test_frames_without_an_answer_excuse_nothing():
    watch = classifier_monitor()
    few = answered(Camera(seed=1).frames(16, shift=0.5), 1)
    rest = [{t: frame[t] for t in ("input", "conv1")} for frame in Camera(seed=2).frames(48, shift=0.5)]
    statuses = play(watch, [*few, *rest])
    assert any(status.alarm for status in statuses)
    assert {status.threshold for status in statuses} == {1.0}


def test_the_answers_change_no_threshold():
    frames = Camera().frames(128)
    parts = ("input", "conv1")
    silent = DriftMonitor(*baseline(frames, parts), DriftSettings(), np.random.default_rng(0))
    assert silent.thresholds == classifier_monitor().thresholds


def test_correlated_frames_are_worth_less():
    taps = ("input", "conv1")
    worth = [
        HealthyFrames.of(taps, baseline(Camera(memory=memory).frames(128), taps)[1]).effective
        for memory in (0.0, 0.9)
    ]
    assert worth[0] > 100
    assert worth[1] < 30
    independent, correlated = monitor(camera=Camera()), monitor(camera=Camera(memory=0.9))
    assert correlated.thresholds["layers"].score > independent.thresholds["layers"].score


def test_offset_and_scale_of_the_taps_do_not_matter():
    plain, far = (
        play(
            monitor(camera=Camera(offset=o, scale=s)),
            Camera(seed=1, offset=o, scale=s).frames(64, shift=0.3),
        )[-1]
        for o, s in ((0.0, 1.0), (10_000.0, 1.0))
    )
    assert far.score == pytest.approx(plain.score, rel=1e-6)
    assert far.threshold == pytest.approx(plain.threshold, rel=1e-6)


def test_a_still_scene_tolerates_a_grey_level_but_not_a_shift():
    still = [{"input": (np.zeros(3), np.ones(3))}] * 32
    parts = baseline(still, ("input",))
    for shift, expected in ((0.004, False), (0.3, True)):
        watch = DriftMonitor(*parts, DriftSettings(), np.random.default_rng(0))
        frames = [{"input": (np.full(3, shift), np.ones(3))}] * 64
        assert play(watch, frames)[-1].sustained is expected


def test_dead_channels_do_not_decide():
    frames = Camera().frames(64)
    for f in frames:
        f["conv1"][0][:4], f["conv1"][1][:4] = 0.0, 0.0
    watch = DriftMonitor(*baseline(frames), DriftSettings(), np.random.default_rng(0))
    live = Camera(seed=1).frames(100)
    for f in live:
        f["conv1"][0][:4], f["conv1"][1][:4] = 1e-9, 1e-18
    assert not play(watch, live)[-1].sustained


def test_equal_seeds_give_equal_thresholds():
    assert monitor(seed=4).thresholds == monitor(seed=4).thresholds


def test_features_of_the_healthy_mean_are_zero():
    rng = np.random.default_rng(0)
    mean, var = rng.normal(size=(5, 4)), rng.uniform(1, 2, (5, 4))
    scaling = Scaling.of(mean, var, (3, 1))
    zero = scaling.features(mean.mean(axis=0), var.mean(axis=0))
    assert zero == pytest.approx(np.zeros(8), abs=2e-3)


def test_not_ready_before_two_windows():
    statuses = play(monitor(), Camera(seed=1).frames(48, shift=5.0))
    assert not statuses[46].ready
    assert statuses[47].alarm


def test_a_missing_tap_is_named():
    watch = monitor()
    with pytest.raises(TapMismatch, match="conv1"):
        watch.update({"input": (np.zeros(3), np.ones(3))}, 0.0)


def test_too_few_healthy_frames_are_refused():
    with pytest.raises(DataError, match="7"):
        monitor(7)


def test_a_tap_the_baseline_does_not_know_is_named():
    moments, frames = baseline(Camera().frames(16))
    with pytest.raises(TapMismatch, match="conv1"):
        DriftMonitor(Moments({"input": moments["input"]}), frames, DriftSettings(), np.random.default_rng(0))
