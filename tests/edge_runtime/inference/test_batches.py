"""Batches for models with a fixed batch axis."""

import numpy as np
import pytest

from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.batches import run_in_parts


def test_a_batch_is_cut_into_parts_and_the_filling_is_left_out() -> None:
    sizes = []

    def double(part):
        sizes.append(len(part))
        return {"y": 2 * part}

    answers = run_in_parts(double, np.arange(5.0)[:, None], 2)
    assert (sizes, answers["y"].ravel().tolist()) == ([2, 2, 2], [0.0, 2.0, 4.0, 6.0, 8.0])


def test_outputs_of_several_sizes_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match=r"words.*\(1,\).*\(3,\)"):
        run_in_parts(lambda part: {"words": np.zeros((1, int(part[0, 0])))}, np.array([[3.0], [1.0]]), 1)
