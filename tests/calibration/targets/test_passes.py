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


def test_outputs_without_a_row_for_each_frame_are_left_out():
    """A number for the whole batch, tokens of all frames together, boxes of which there may be any number."""

    def answers(batch):
        tokens = np.repeat(batch, 3, axis=0)
        return {"mean": batch.mean(), "scores": batch * 2, "tokens": tokens, "boxes": batch[batch[:, 0] > 3]}

    x = np.arange(5, dtype=np.float32)[:, None]
    for is_fixed in (False, True):
        found = passes.run_all(answers, x, 2, is_fixed=is_fixed)
        assert {name: y.tolist() for name, y in found.items()} == {"scores": (x * 2).tolist()}
