import random

import pytest

from edge_runtime.sources.pacing import Metronome


def kept(fps, times):
    limit = Metronome(fps)
    return [t for t in times if limit.keep(t)]


def test_no_limit_keeps_all():
    assert len(kept(None, range(50))) == 50


@pytest.mark.parametrize(("camera_fps", "fps"), [(30, 10), (25, 10), (30, 7), (60, 1), (24, 23.9)])
def test_average_rate_is_kept(camera_fps, fps):
    rng = random.Random(1)
    times = [i / camera_fps + rng.uniform(0, 0.3 / camera_fps) for i in range(camera_fps * 60)]
    assert len(kept(fps, times)) == pytest.approx(fps * 60, rel=0.02)


def test_a_camera_at_the_limit_loses_next_to_nothing_to_jitter():
    rng = random.Random(2)
    times = [i / 10 + rng.uniform(-0.02, 0.02) for i in range(600)]
    assert len(kept(10, times)) >= 598


def test_a_slow_camera_is_not_limited():
    times = [i / 5 for i in range(100)]
    assert kept(10, times) == times


def test_no_burst_after_a_pause():
    limit = Metronome(10)
    limit.keep(0)
    after = [t for t in (100 + i / 100 for i in range(100)) if limit.keep(t)]
    assert len(after) <= 12


def test_metronome_waits_for_the_beat():
    metronome = Metronome(10)
    assert metronome.wait_s(5.0) == 0
    metronome.tick(5.0)
    assert metronome.wait_s(5.02) == pytest.approx(0.08)
    assert metronome.wait_s(5.2) == 0


def test_metronome_does_not_catch_up_in_a_burst():
    metronome = Metronome(10)
    metronome.tick(0.0)
    metronome.tick(60.0)
    metronome.tick(60.0)
    assert metronome.wait_s(60.0) > 0.05


def test_metronome_without_pace_never_waits():
    metronome = Metronome(None)
    metronome.tick(1.0)
    assert metronome.wait_s(1.0) == 0
