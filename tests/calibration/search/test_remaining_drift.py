"""Whether simulated frames can judge: they can for what a camera does to all pixels alike."""

import numpy as np
import pytest

from calibration.search.preconditions import MOST_LEFT, remaining_drift
from calibration.search.simulation.camera import simulate_drift
from calibration.stats.moments import FrameMoments, moments_of_frames
from tests.support.onnx_nets import hazy, pictures

HEALTHY = pictures(96, seed=0)


def measured(x: np.ndarray) -> dict[str, FrameMoments]:
    """The input, and what a layer that looks at neighbours makes of it."""
    return {"input": moments_of_frames(x), "edges": moments_of_frames(x[:, :, 1:] - x[:, :, :-1])}


def left_by_simulation(live: np.ndarray) -> float:
    again = simulate_drift(HEALTHY[:16], live).draw(np.random.default_rng(0))
    return remaining_drift(measured(live), measured(again), measured(HEALTHY))


@pytest.mark.parametrize("keep", [0.2, 0.6])
def test_of_a_haze_nothing_is_left(keep: float) -> None:
    assert left_by_simulation(hazy(pictures(48, seed=1), keep=keep)) < 0.1


def test_frames_that_were_not_simulated_leave_everything() -> None:
    live = measured(hazy(pictures(48, seed=1)))
    assert remaining_drift(live, measured(HEALTHY), measured(HEALTHY)) == pytest.approx(1.0, abs=1e-6)


def test_light_that_falls_off_across_the_pictures_cannot_be_simulated() -> None:
    lit = 0.3 * pictures(48, seed=1) + 0.7 * np.linspace(-1, 1, 16, dtype=np.float32)
    assert left_by_simulation(lit) > MOST_LEFT


def test_neither_scale_nor_order_of_the_frames_matters() -> None:
    live, again = hazy(pictures(48, seed=1)), hazy(pictures(48, seed=2), keep=0.8)
    found = remaining_drift(measured(live), measured(again), measured(HEALTHY))
    scaled = (measured(1000 * part + 7) for part in (live[::-1], again[::-1], HEALTHY))
    assert remaining_drift(*scaled) == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize("count", [1, 7])
def test_a_baseline_of_few_frames_says_nothing(count: int) -> None:
    live = measured(hazy(pictures(48, seed=1)))
    assert remaining_drift(live, measured(HEALTHY), measured(HEALTHY[:count])) == 0.0


def test_where_nothing_moved_nothing_is_left() -> None:
    same = measured(HEALTHY)
    assert remaining_drift(same, measured(hazy(HEALTHY)), same) == 0.0
    assert remaining_drift({}, {}, same) == 0.0
