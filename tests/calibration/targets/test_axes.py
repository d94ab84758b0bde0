"""Where an axis comes from, and which axis of an input holds its channels."""

import itertools

import numpy as np
import pytest

from calibration.errors import ModelError
from calibration.targets.axes import (
    Insert,
    Permute,
    Remove,
    Swap,
    find_axis_before,
    insertions,
    moves_of_reshape,
    removals,
)
from calibration.targets.model_input import choose_channel_axis, guess_channel_axis


def move(x: np.ndarray, *moves: Insert | Permute | Remove | Swap) -> np.ndarray:
    """The moves made by numpy."""
    for one in moves:
        match one:
            case Permute(order):
                x = np.transpose(x, order)
            case Swap(a, b):
                x = np.swapaxes(x, a, b)
            case Insert(axis):
                x = np.expand_dims(x, axis)
            case Remove(axis):
                x = np.squeeze(x, axis)
    return x


MOVES = (
    Permute((0, 2, 1)),
    Swap(1, -1),
    Insert(1),
    Insert(-1),
    Permute((0, -1, 1, 2)),
    Remove(1),
    Remove(-1),
)


def test_every_way_of_three_moves_leads_back_to_where_numpy_took_the_axis_from() -> None:
    x, followed = np.empty((2, 3, 5)), 0
    for moves in itertools.product(MOVES, repeat=3):
        try:
            after = move(x, *moves)
        except ValueError:  # no such axis, or one that is larger than 1
            continue
        for axis, size in enumerate(after.shape):
            found = find_axis_before(moves, axis, after.ndim)
            followed += 1
            assert found == (None if size == 1 else (x.shape.index(size), 3)), (moves, axis)
    assert followed > 100


@pytest.mark.parametrize(
    ("before", "after", "fits"),
    [
        ((None, 40, 6), (None, 1, 40, 6), True),
        ((2, 1, 40, 6), (2, 40, 6), True),
        ((1, 40, 6), (1, 40, 1, 6), True),
        ((None, 40, 6), (None, 240), False),
        ((None, None, 6), (None, 1, None, 6), False),
    ],
)
def test_a_reshape_is_moves_if_it_adds_and_removes_ones_only(
    before: tuple[int | None, ...], after: tuple[int | None, ...], fits: bool
) -> None:
    moves = moves_of_reshape(before, after)
    assert (moves is not None) == fits
    if moves is not None:
        whole = np.empty([7 if size is None else size for size in before])
        assert move(whole, *moves).shape == tuple(7 if size is None else size for size in after)


@pytest.mark.parametrize("axes", [(0,), (-1,), (1, 3), (3, 1), (-1, 0), (-2, 2)])
def test_several_axes_at_once_are_added_and_removed_as_by_numpy(axes: tuple[int, ...]) -> None:
    x = np.empty((2, 3, 5))
    wide = np.expand_dims(x, axes)
    assert move(x, *insertions(axes, x.ndim)).shape == wide.shape
    assert move(wide, *removals(axes, wide.ndim)).shape == x.shape


@pytest.mark.parametrize(
    ("dims", "axis"),
    [
        ((None, 6), 1),
        ((None, 6, None), 1), ((None, None, 6), 2), ((1, 6, 40), 1), ((1, 40, 6), 2), ((1, 1, 40), 1), ((1, 40, 1), 2),
        ((1, 3, 224, 224), 1), ((1, 224, 224, 3), 3), ((1, 4, 9, 3), 1), ((1, 7, 9, 8), 1), ((1, 2, 8, 8, 8), 1),
    ],
)  # fmt: skip
def test_sizes_alone_suggest_an_axis(dims: tuple[int | None, ...], axis: int) -> None:
    assert guess_channel_axis(dims) == axis


def test_what_is_told_counts_more_than_the_layers_and_they_more_than_the_sizes() -> None:
    dims = (None, 40, 6)
    assert choose_channel_axis("m", dims, "nct", lambda: 2) == 1
    assert choose_channel_axis("m", dims, None, lambda: 1) == 1
    assert choose_channel_axis("m", dims, None, lambda: None) == 2
    assert choose_channel_axis("m", (1, 224, 224, 3), None, lambda: 1) == 3  # plainly a picture


@pytest.mark.parametrize(
    ("layout", "dims"), [("nct", (1, 3, 8, 8)), ("nf", (1, 3, 8)), ("thwc", (1, 3, 8, 8))]
)
def test_a_layout_of_other_axes_is_refused(layout: str, dims: tuple[int, ...]) -> None:
    with pytest.raises(ModelError):
        choose_channel_axis("m", dims, layout, lambda: None)  # type: ignore[arg-type]
