"""Live frames of which a part is healthy are told from those that all drifted."""

import numpy as np
import pytest

from calibration.search.two_states import find_healthy_part
from calibration.stats.moments import INPUT_TAP, FrameMoments, moments_of_frames
from tests.support.machine_signals import signals


def look(x: np.ndarray) -> dict[str, FrameMoments]:
    return {INPUT_TAP: moments_of_frames(x.astype(np.float32))}


def moved(x: np.ndarray) -> np.ndarray:
    return x + 1.5


HEALTHY = look(signals(128, seed=1))
SIMULATED = look(moved(signals(128, seed=1)))


def test_windows_that_all_drifted_are_of_one_state() -> None:
    assert [
        find_healthy_part(look(moved(signals(48, seed=one))), SIMULATED, HEALTHY) for one in range(5)
    ] == [0] * 5


def test_healthy_windows_among_them_are_found() -> None:
    live = np.concatenate([moved(signals(24, seed=2)), signals(24, seed=9)])
    pooled = look(signals(128, seed=1) + 0.75)
    assert find_healthy_part(look(live), pooled, HEALTHY) == pytest.approx(0.45, abs=0.15)


def test_of_few_frames_nothing_can_be_said() -> None:
    assert find_healthy_part(look(signals(4)), SIMULATED, HEALTHY) == 0.0
