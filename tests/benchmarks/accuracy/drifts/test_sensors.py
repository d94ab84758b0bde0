"""Drifts of sensors do what their names say."""

import numpy as np
import pytest

from benchmarks.accuracy.drifts.sensors import CURABLE, DRIFTS, HOPELESS, drifted


def windows() -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(0).normal(0, 0.3, (8, 4, 60)), axis=2)
    return (walk - walk.mean()).astype(np.float32)


@pytest.mark.parametrize("drift", DRIFTS)
def test_full_strength_changes_windows_and_none_does_not(drift: str) -> None:
    x = windows()
    found = drifted(x, drift, 5, np.random.default_rng(0))
    assert (found.shape, found.dtype) == (x.shape, np.float32)
    assert not np.array_equal(found, x)
    assert np.array_equal(x, windows())


@pytest.mark.parametrize("drift", [drift for drift in DRIFTS if drift != "clipped"])
def test_no_strength_changes_nothing(drift: str) -> None:
    np.testing.assert_allclose(drifted(windows(), drift, 0, np.random.default_rng(0)), windows(), atol=1e-6)


def test_the_drifts_with_a_meaning_of_their_own_are_there() -> None:
    assert {*CURABLE, *HOPELESS} <= set(DRIFTS)


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(ValueError):
        drifted(windows(), "rust", 5, np.random.default_rng(0))


def test_lost_records_are_held_in_all_channels() -> None:
    found = drifted(windows(), "5 % missing, held", 5, np.random.default_rng(0))
    is_held = np.diff(found, axis=2) == 0
    assert (is_held.all(axis=1) == is_held.any(axis=1)).all()
    assert 0.02 < is_held.mean() < 0.08


def test_half_of_the_band_is_gone() -> None:
    x, found = windows(), drifted(windows(), "half of the band", 5, np.random.default_rng(0))
    before, after = (np.abs(np.diff(part, axis=2)).mean() for part in (x, found))
    assert after < 0.8 * before
