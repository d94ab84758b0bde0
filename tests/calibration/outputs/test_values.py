"""Answers that are numbers by themselves."""

import numpy as np
import pytest

from calibration.outputs.read import UnknownAnswers, join_answers, read_answers
from calibration.outputs.values import Numbers, Values, values_output

ROWS = np.arange(6, dtype=np.float32)


@pytest.mark.parametrize(
    ("shape", "read"), [((6,), (6, 1)), ((6, 1), (6, 1)), ((3, 2), (3, 2)), ((3, 2, 1), (3, 2))]
)
def test_all_that_an_output_has_for_a_sample_is_its_answer(shape, read):
    found = read_answers({"y": ROWS.reshape(shape)}, Values.PLAIN)
    assert isinstance(found, Numbers)
    assert found.shape == read
    assert found.rows.ravel().tolist() == ROWS.tolist()


def test_a_reconstruction_is_as_far_off_as_the_root_of_the_mean_square():
    x = np.zeros((2, 3, 4), np.float32)
    y = x.copy()
    y[1] = 2
    found = read_answers({"y": y}, Values.RECONSTRUCTION, x)
    assert isinstance(found, Numbers)
    assert found.rows.tolist() == [[0.0], [2.0]]


def test_a_reconstruction_with_channels_last_is_compared_channel_by_channel():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    found = read_answers({"y": x.transpose(0, 2, 1) + 2}, Values.RECONSTRUCTION, x)
    assert isinstance(found, Numbers)
    assert found.rows.tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize(
    ("outputs", "layout"),
    [
        ({"a": ROWS, "b": ROWS}, Values.PLAIN),
        ({"a": ROWS.astype(np.int64)}, Values.PLAIN),
        ({"a": ROWS}, Values.RECONSTRUCTION),
    ],
)
def test_what_is_no_such_output_is_told(outputs, layout):
    with pytest.raises(UnknownAnswers):
        read_answers(outputs, layout, np.zeros((6, 2), np.float32))


def test_the_one_output_of_numbers_is_found_wherever_it_stands():
    whole = ROWS.astype(np.int64)
    assert values_output({"kind": whole, "y": ROWS}) == "y"
    assert values_output({"y": ROWS, "z": ROWS}) is None
    assert values_output({"kind": whole}) is None


def test_numbers_are_cut_and_joined():
    one = Numbers(ROWS.reshape(3, 2).astype(np.float64))
    again = join_answers([one[np.array([0])], one[np.array([1, 2])]])
    assert isinstance(again, Numbers)
    assert again.rows.tolist() == one.rows.tolist()
    assert one.is_finite
    assert not Numbers(np.array([[np.nan]])).is_finite


def test_each_value_varies_by_its_own_size():
    rng = np.random.default_rng(0)
    wide, small = rng.normal(0, 1e7, 50), rng.normal(0, 0.05, 50)
    rounded = (48 + 1e-9 * rng.normal(size=50)).astype(np.float32)
    spread, varies = Numbers(np.stack([wide, small, rounded], axis=1)).measure_spread()
    assert varies.tolist() == [True, True, False]
    assert spread[:2] == pytest.approx([wide.std(), small.std()])
