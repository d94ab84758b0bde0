"""A search tells how far it is, and can be stopped by those that it tells."""

from itertools import pairwise
from typing import get_args

import pytest

import calibration as c
from calibration.search.distillation import DistillationSettings
from calibration.search.progress import SearchPhase, track
from tests.support.onnx_nets import classifier, hazy, pictures, quantized

pytestmark = pytest.mark.integration

ORDER = list(get_args(SearchPhase))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return quantized(classifier(seed=4), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def baseline(model: bytes) -> c.Baseline:
    return c.profile(model, pictures(64, seed=1), created_wall_s=0.0)


def told(model: bytes, baseline: c.Baseline, x, steps: int = 6) -> list[tuple[str, float]]:
    found = list[tuple[str, float]]()
    options = c.Options(distillation=DistillationSettings(steps=steps))
    c.recalibrate(model, baseline, x, options=options, progress=lambda *now: found.append(now))
    return found


def test_all_phases_are_told_in_their_order_and_each_goes_from_0_to_1(model, baseline):
    found = told(model, baseline, hazy(pictures(48, seed=2)))
    phases = [phase for phase, _ in found]
    expected = [phase for phase in ORDER if phase != "screening"]  # so few candidates all meet all frames
    assert list(dict.fromkeys(phases)) == expected
    assert phases == sorted(phases, key=ORDER.index)
    for phase in expected:
        shares = [share for name, share in found if name == phase]
        assert (shares[0], shares[-1]) == (0.0, 1.0)
        assert all(before < after for before, after in pairwise(shares))


def test_every_step_of_the_descent_is_told(model, baseline):
    found = told(model, baseline, hazy(pictures(48, seed=2)))
    assert [share for phase, share in found if phase == "distilling"] == [k / 6 for k in range(7)]


def test_without_distillation_its_phase_does_not_come(model, baseline):
    found = told(model, baseline, hazy(pictures(48, seed=2)), steps=0)
    assert {phase for phase, _ in found} == set(ORDER) - {"distilling"}


def test_a_search_that_refuses_at_once_tells_no_later_phase(model, baseline):
    found = told(model, baseline, pictures(3, seed=2))
    assert {phase for phase, _ in found} == {"measuring"}


def test_what_the_callback_raises_stops_the_search(model, baseline):
    class Stopped(Exception):
        pass

    def stop(phase: SearchPhase, share: float) -> None:
        if (phase, share) == ("distilling", 0.5):
            raise Stopped

    options = c.Options(distillation=DistillationSettings(steps=6))
    with pytest.raises(Stopped):
        c.recalibrate(model, baseline, hazy(pictures(48, seed=2)), options=options, progress=stop)


def test_nothing_to_do_is_done_at_once():
    found = list[tuple[str, float]]()
    assert list(track(lambda *now: found.append(now), "judging", [])) == []
    assert found == [("judging", 1.0)]
