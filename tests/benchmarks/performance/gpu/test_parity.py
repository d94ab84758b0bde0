"""How far answers are from those of the CPU."""

import numpy as np
import pytest

from benchmarks.performance.gpu.parity import compare

EXPECTED = np.array([[3.0, 0.0, -1.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 4.0]], np.float32)


def test_the_same_answers_agree_in_all() -> None:
    found = compare(EXPECTED, EXPECTED.copy())
    assert (found["top1"], found["worst"], found["mean"]) == (1.0, 0.0, 0.0)
    assert found["rms"] == pytest.approx(np.sqrt(32 / 12))


def test_another_first_class_and_the_largest_difference_are_seen() -> None:
    other = EXPECTED.copy()
    other[1] = [0.0, 1.0, 1.5]
    found = compare(EXPECTED, other)
    assert found["top1"] == 0.75
    assert found["worst"] == 1.0
    assert found["mean"] == pytest.approx(1.5 / 12)


def test_an_answer_that_is_no_number_is_no_agreement() -> None:
    other = EXPECTED.copy()
    other[0, 0] = np.nan
    assert np.isnan(compare(EXPECTED, other)["worst"])
