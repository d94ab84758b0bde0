import numpy as np
import pytest

from benchmarks.accuracy.drifts.by_name import drifted

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)


def test_overlapping_drifts_are_applied_one_after_the_other() -> None:
    both = drifted(PIXELS, "camera:dark&contrast", 3, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    in_turn = drifted(drifted(PIXELS, "camera:dark", 3, rng), "contrast", 3, rng)
    np.testing.assert_array_equal(both, in_turn)
    assert (both != drifted(PIXELS, "contrast&camera:dark", 3, np.random.default_rng(1))).any()


def test_an_unknown_one_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="sunset"):
        drifted(PIXELS, "camera:haze&sunset", 3, np.random.default_rng(0))
