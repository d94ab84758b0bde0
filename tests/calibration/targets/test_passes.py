"""Behaviours of what every target does around a pass."""

import numpy as np
import pytest

from calibration.targets import passes


@pytest.mark.parametrize(
    ("shape", "frames"),
    [((3, 224, 224), 8), ((3, 640, 640), 8), ((3, 112, 112), 32), ((1, 28, 28), 1536), ((16,), 75264)],
)
def test_more_small_pictures_are_corrected_together_in_the_same_memory(shape, frames):
    assert passes.choose_micro_batch(np.zeros((2, *shape), np.float32)) == frames


def test_even_batches_lose_nothing_and_none_is_much_smaller():
    x = np.arange(43, dtype=np.float32)[:, None]
    parts = list(passes.cut_evenly(x, 8))
    assert np.concatenate(parts).tolist() == x.tolist()
    assert min(map(len, parts)) >= 7
