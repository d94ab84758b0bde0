"""Steps that only move the axes of a tensor, and where an axis behind several of them came from.

No framework is imported here.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Permute:
    """Axis ``i`` of the result is axis ``order[i]`` of the source."""

    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Swap:
    """Two axes change places."""

    one: int
    other: int


@dataclass(frozen=True, slots=True)
class Insert:
    """A new axis of size 1, at its place in the result."""

    axis: int


@dataclass(frozen=True, slots=True)
class Remove:
    """An axis of size 1 less, at its place in the source."""

    axis: int


Move = Permute | Swap | Insert | Remove
"""Axes may be counted from the end, as negative numbers."""


def find_axis_before(moves: Sequence[Move], axis: int, rank: int) -> tuple[int, int] | None:
    """Where an axis of a result lies in the source in front of ``moves``, and the number of axes there.

    Args:
        moves: In the order in which they are made.
        axis: Of the result.
        rank: Number of axes of the result.

    Returns:
        None where one of the moves made the axis.
    """
    for move in reversed(moves):
        match move:
            case Permute(order):
                axis = order[axis] % rank
            case Swap(one, other):
                pair = (one % rank, other % rank)
                axis = pair[1 - pair.index(axis)] if axis in pair else axis
            case Insert(at):
                if axis == at % rank:
                    return None
                axis -= axis > at % rank
                rank -= 1
            case Remove(at):
                rank += 1
                axis += axis >= at % rank
    return axis, rank


def insertions(axes: Sequence[int], rank: int) -> tuple[Move, ...]:
    """New axes of size 1 at once in a tensor of ``rank`` axes (Unsqueeze), at their places in the result."""
    return tuple(Insert(axis) for axis in sorted(axis % (rank + len(axes)) for axis in axes))


def removals(axes: Sequence[int], rank: int) -> tuple[Move, ...]:
    """Axes of size 1 less at once in a tensor of ``rank`` axes (Squeeze), at their places there."""
    return tuple(Remove(axis) for axis in sorted((axis % rank for axis in axes), reverse=True))


def moves_of_reshape(before: Sequence[int | None], after: Sequence[int | None]) -> tuple[Move, ...] | None:
    """A change of shape as moves, where it only adds and removes axes of size 1; else None.

    A size that is not known is None; at most one of them can be followed.
    """
    kept = [size for size in before if size != 1]
    if kept != [size for size in after if size != 1] or kept.count(None) > 1:
        return None
    removed = [Remove(axis) for axis, size in enumerate(before) if size == 1]
    return (*removed[::-1], *(Insert(axis) for axis, size in enumerate(after) if size == 1))
