"""Several known states under real monitors: a known change is no alarm, an unknown one is, dusk does not flap."""

import numpy as np
import pytest

from calibration.drift.monitor import DriftMonitor, DriftSettings
from calibration.stats.moments import INPUT_TAP, moments_of_frames
from edge_runtime.recalibration.drift.baseline_selector import BaselineSelector, NearestBaseline

SETTINGS = DriftSettings()


def scene(seed, level, frames):
    """Frames (N,3,8,8) of a site whose light is ``level``: brighter is also more contrast."""
    rng = np.random.default_rng(seed)
    return (level * (2 + rng.normal(0, 1, (frames, 3, 8, 8)) + rng.normal(0, 0.2, (frames, 3, 1, 1)))).astype(
        "f4"
    )


def monitor(seed, level):
    seen = moments_of_frames(scene(seed, level, 96))
    return DriftMonitor({INPUT_TAP: seen.pool()}, {INPUT_TAP: seen}, SETTINGS, np.random.default_rng(0))


class Site:
    """Day is 1.0, night 0.4; a known drift of day looks like 2.5."""

    def __init__(self, *, night=True, drift=False):
        self.states = BaselineSelector("day", monitor(1, 1.0), SETTINGS.window_frames)
        if night:
            self.states.add("night", monitor(2, 0.4))
        if drift:
            self.states.add("p3", monitor(3, 2.5), is_drift=True)
        self.at_s = 0.0

    def shows(self, level, frames, seed=10):
        """What was noticed, with the frame number of each."""
        seen, noticed = moments_of_frames(scene(seed, level, frames)), []
        for i, pair in enumerate(zip(seen.mean, seen.var, strict=True)):
            self.at_s += 1.0
            change = self.states.update({INPUT_TAP: pair}, self.at_s)
            if change is not None and (not noticed or noticed[-1][0] != change):
                noticed.append((change, i))
        return noticed


def test_day_turning_into_night_and_back_is_no_alarm():
    site = Site()
    assert site.shows(1.0, 200) == []
    assert [change for change, _ in site.shows(0.4, 300, seed=11)] == ["switched"]
    assert (site.states.in_use, site.states.is_drifted) == ("night", False)
    assert [change for change, _ in site.shows(1.0, 300, seed=12)] == ["switched"]
    assert site.states.in_use == "day"


def test_without_the_night_baseline_night_is_an_alarm():
    [(change, after), *_] = (site := Site(night=False)).shows(1.0, 100) + site.shows(0.4, 100, seed=11)
    assert (change, site.states.is_drifted) == ("alarm", True)
    assert after < 64


@pytest.mark.parametrize("level", [0.1, 2.5, 5.0])
def test_what_is_no_known_state_still_alarms_in_time(level):
    site = Site()
    site.shows(1.0, 100)
    [(change, after)] = site.shows(level, 200, seed=11)
    assert (change, site.states.in_use) == ("alarm", "day")
    assert after < 64


def test_a_drift_is_measured_against_the_baseline_in_use():
    site = Site()
    site.shows(1.0, 100)
    site.shows(0.4, 200, seed=11)
    assert [change for change, _ in site.shows(0.1, 200, seed=12)] == ["alarm"]
    assert site.states.in_use == "night"
    assert [change for change, _ in site.shows(0.4, 300, seed=13)] == ["returned"]


def test_a_drift_seen_before_alarms_and_is_recognised():
    site = Site(drift=True)
    site.shows(1.0, 100)
    assert [change for change, _ in site.shows(2.5, 100, seed=11)] == ["alarm"]
    assert site.states.known_drift == "p3"
    assert site.states.is_nearer_to_drift("p3")
    assert not site.states.is_nearer_to_drift("p4")  # is not watched
    site.shows(5.0, 100, seed=12)
    assert site.states.known_drift is None
    site.shows(1.0, 100, seed=13)
    assert not site.states.is_nearer_to_drift("p3")


def test_a_state_that_joins_later_counts_once_it_has_seen_enough():
    site = Site(night=False)
    site.shows(1.0, 100)
    site.states.add("night", monitor(2, 0.4))
    site.shows(1.0, 60, seed=11)
    assert [change for change, _ in site.shows(0.4, 300, seed=12)] == ["switched"]


def test_scores_are_known_for_every_baseline():
    site = Site()
    site.shows(1.0, 100)
    scores = site.states.scores()
    assert set(scores) == {"day", "night"}
    assert scores["day"][0] < scores["day"][1]
    assert scores["night"][0] > scores["night"][1]


def frames_until_switch(shares, most=100):
    nearest = NearestBaseline("day", patience_frames=16)
    return next((i for i in range(1, most) if nearest.update(shares(i))), None)


@pytest.mark.parametrize(
    ("day", "night", "switches"),
    [
        (2.0, 0.3, True),
        (2.0, 1.5, False),  # night does not fit either
        (0.9, 0.6, False),  # not much nearer
        (0.3, 0.1, False),  # day fits well: no reason to leave it
    ],
)
def test_another_baseline_takes_over_only_when_it_fits_and_is_much_nearer(day, night, switches):
    assert (frames_until_switch(lambda _: {"day": day, "night": night}) is not None) is switches


def test_it_must_lead_for_two_windows_without_a_break():
    assert frames_until_switch(lambda _: {"day": 2.0, "night": 0.3}) == 17
    assert frames_until_switch(lambda i: {"day": 2.0, "night": 0.3 if i % 10 else 3.0}) is None


def test_at_dusk_it_does_not_flap():
    rng, nearest, switches = np.random.default_rng(0), NearestBaseline("day", 16), 0
    for _ in range(5000):
        switches += nearest.update({"day": rng.uniform(0.6, 1.1), "night": rng.uniform(0.6, 1.1)})
    assert switches == 0
