"""What the watch makes of a monitor's verdicts; the statistics themselves are tested in ``calibration``."""

import numpy as np
import pytest

from calibration.drift.monitor import DriftStatus
from calibration.stats.moments import ANSWERS_TAP
from calibration.stats.output_features import value_features
from edge_runtime.datatypes import Anomaly, Result, Timings, Value
from edge_runtime.recalibration.drift.baseline_selector import BaselineSelector
from edge_runtime.recalibration.drift.watch import Comparison, DriftWatch
from edge_runtime.recalibration.patch_policy import is_same_drift

TENSOR = np.zeros((3, 4, 4), np.float32)


class ScriptedMonitor:
    """Says what the test wants; remembers the moments it was given."""

    def __init__(self, *verdicts, threshold=1.0):
        self.verdicts, self.frames, self.moments = list(verdicts), 0, []
        self.threshold = threshold

    def update(self, moments, now_s):
        self.moments.append(moments)
        self.frames += 1
        score, alarm, sustained = self.verdicts.pop(0) if self.verdicts else (0.1, False, False)
        return DriftStatus(
            score,
            self.threshold,
            alarm,
            sustained,
            cusum=0.0,
            cusum_threshold=1.0,
            sign="layers",
            verdict="healthy",
            deep_score=None,
            deep_threshold=None,
            frames=self.frames,
            ready=True,
        )


class Probe:
    is_closed = False

    def infer(self, batch):
        return {"conv1/mean": np.full((1, 2), 3.0), "conv1/var": np.full((1, 2), 4.0)}

    def close(self):
        self.is_closed = True


def watch(*verdicts, window=4):
    return watch_with(ScriptedMonitor(*verdicts), window)[0]


def watch_with(monitor, window=4):
    probe, seen = Probe(), DriftWatch(None)
    seen.compare(Comparison(probe, BaselineSelector("default", monitor, window), window))
    return seen, probe


def test_tells_when_a_drift_is_noticed_and_when_it_has_gone():
    seen = watch((2.0, True, True), (2.0, False, True), (0.1, False, False))
    assert [seen.look(TENSOR, float(i)) for i in range(4)] == ["alarm", None, "returned", None]


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ({"values": (Value("heat", 85.0, raw=2.5), Value("wear", 1.0, raw=-1.0))}, [2.5, -1.0]),
        ({"anomaly": Anomaly(0.75, None)}, [0.75]),
    ],
)
def test_gives_the_monitor_the_model_s_own_numbers(answer, numbers):
    monitor = ScriptedMonitor()
    seen, _ = watch_with(monitor)
    seen.look(TENSOR, 0.0, Result("box", "pump", 1, 0.0, "m", "m/1", Timings(0, 0, 0, 0, 0), **answer))
    [moments] = monitor.moments
    assert [one.tolist() for one in moments[ANSWERS_TAP]] == [one.tolist() for one in value_features(numbers)]


def test_gives_the_monitor_the_input_and_every_tap_of_the_probe():
    monitor = ScriptedMonitor()
    seen, _ = watch_with(monitor)
    seen.look(TENSOR + np.arange(3, dtype=np.float32).reshape(3, 1, 1), 0.0)
    [moments] = monitor.moments
    assert moments["input"][0].tolist() == [0.0, 1.0, 2.0]
    assert moments["conv1"][0].tolist() == [3.0, 3.0]
    assert moments["conv1"][1].tolist() == [4.0, 4.0]


def test_is_quiet_only_after_two_windows_and_well_below_the_threshold():
    monitor = ScriptedMonitor()
    seen, _ = watch_with(monitor)
    for i in range(7):
        seen.look(TENSOR, float(i))
        assert not seen.is_quiet
    seen.look(TENSOR, 8.0)
    assert seen.is_quiet
    monitor.verdicts = [(0.9, False, False)]
    seen.look(TENSOR, 9.0)
    assert not seen.is_quiet


def test_few_contents_make_nothing_quiet():
    monitor = ScriptedMonitor(*[(2.0, False, False)] * 8, threshold=16.0)
    seen, _ = watch_with(monitor)
    for i in range(8):
        seen.look(TENSOR, float(i))
    assert not seen.is_quiet
    assert seen.figures().threshold == 16.0


@pytest.mark.parametrize(
    ("answered", "score", "is_covered"),
    [
        (None, 1.0, False),
        (0.0, 1.0, False),
        (1.0, 1.5, True),
        (1.0, 2.5, False),
        (1.0, 0.4, False),
    ],
)
def test_an_answered_drift_covers_scores_near_its_own(answered, score, is_covered):
    assert is_same_drift(score, answered) is is_covered


def test_a_drift_has_a_score_from_its_alarm_to_its_end():
    seen = watch((2.0, True, True), (1.5, False, True), (0.1, False, False))
    scores = []
    for i in range(3):
        seen.look(TENSOR, float(i))
        scores.append(seen.drift_score)
    assert scores == [2.0, 1.5, None]


def test_without_a_comparison_there_is_no_drift_and_closing_frees_the_probe():
    seen, probe = watch_with(ScriptedMonitor((2.0, True, True)))
    seen.look(TENSOR, 1.0)
    assert (seen.is_open, seen.in_use, seen.window_began_at_s) == (True, "default", 1.0)
    seen.close()
    seen.close()
    assert probe.is_closed
    assert seen.look(TENSOR, 2.0) is None
    assert (seen.is_open, seen.in_use, seen.drift_score, seen.known_drift) == (False, None, None, None)
    assert (seen.is_quiet, seen.window_began_at_s, seen.scores(), seen.figures()) == (False, 0.0, {}, None)
