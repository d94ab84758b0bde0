"""Which layers of a model can be corrected, and why the others stay as they are: the same rules for every framework.

A *tap* is a layer output at which channels are measured and corrected. A framework describes the nodes of its graph
as :class:`Step`; it alone knows which constants correct a layer. No framework is imported here.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.targets.base import SkippedLayer

HEAD = "head of the model: its statistics are the answer"
"""Why a layer behind which no other layer with weights comes is never a tap."""

VARYING = "how many rows it has depends on what the input shows"
"""Why a layer behind a selection of boxes is never a tap: a sample may leave it none."""

_INNER = "inside a control-flow body"

DECODING = "fixed arithmetic that turns answers into boxes: nothing in it was learned"
"""Why a layer with such weights is neither a tap nor a reason for the layers in front not to be heads."""

_FEWEST_STEPS = 4
_OFF_THE_LINE = 0.01
"""Of the largest weight; int8 rounds to 0.004 of it."""
_BOX = [4, 4]


T = TypeVar("T")
"""A tap with its place in one framework's graph."""


class LayerSkipped(Exception):
    """This layer stays as it is; the text is the reason that the user sees."""


def holds_decoding(
    shape: Sequence[int], read: Callable[[], NDArray[np.floating[Any]]], *, is_turned: bool
) -> bool:
    """Whether a layer's weights are those of a decoding, see :func:`is_decoding`.

    Args:
        shape: (O, I, ...); of a matrix that ``is_turned`` (I, O), of a product with a vector (I,).
        read: Gives the weights; called only where the shape fits.
        is_turned: Whether the output channels of a matrix are its last axis.
    """
    is_turned = is_turned and len(shape) == 2
    rows = [1, *shape] if len(shape) == 1 else list(shape[::-1] if is_turned else shape)
    if not _may_be_decoding(rows):
        return False
    weights = read()
    return is_decoding(weights.T if is_turned else weights.reshape(rows))


def _may_be_decoding(shape: Sequence[int]) -> bool:
    return list(shape) == _BOX or (len(shape) > 1 and shape[0] == 1 and shape[1] >= _FEWEST_STEPS)


def is_decoding(weights: NDArray[np.floating[Any]]) -> bool:
    """Whether weights, (O, I) or (O, I, ...) with windows of one position, are those of a decoding and not of a layer.

    Two kinds are in use. The mean of a distribution over distances: weights 0, 1, 2... for one output (Generalized
    Focal Loss, Li et al. 2020; YOLO v8 and later). Centre and size to corners, or back: a matrix of halves and ones.
    """
    if not _may_be_decoding(weights.shape) or weights.size != int(np.prod(weights.shape[:2])):
        return False
    flat = weights.reshape(weights.shape[0], -1).astype(np.float64)
    if len(flat) > 1:
        are_halves = (flat * 2 == np.rint(flat * 2)).all() and np.abs(flat).max() <= 1
        return bool(are_halves and np.linalg.matrix_rank(flat) == len(flat))
    line, largest = np.linspace(flat[0, 0], flat[0, -1], flat.shape[1]), np.abs(flat).max()
    is_line = np.abs(flat[0] - line).max() <= _OFF_THE_LINE * largest
    return bool(is_line and abs(line[-1] - line[0]) > largest / 2)


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """One node of a graph. Tensors are known by any hashable key."""

    label: str
    """The node's name for people."""
    reads: Sequence[Hashable]
    writes: Sequence[Hashable]
    rows_from: Sequence[Hashable]
    """Those of ``reads`` that decide how many entries the output has."""
    has_weights: bool
    """Whether it has weights, or holds layers that have: one in front of it is then no head."""
    is_decoding: bool
    """Whether its weights are fixed arithmetic, see :func:`is_decoding`: they hide no head, and are never corrected."""
    is_batch_norm: bool
    is_linear: bool
    """Whether it is a matrix product."""
    is_selecting: bool
    """Whether it gives as many entries as the input has of something."""
    inner_layers: Sequence[str]
    """Labels of the layers in its control-flow bodies."""
    tap: Callable[[], T | None]
    """Finds the tap of this layer, None when it is no layer with weights; may raise :class:`LayerSkipped`."""


def choose_taps(
    model: str, steps: Sequence[Step[T]], fix: str
) -> tuple[tuple[T, ...], tuple[SkippedLayer, ...]]:
    """All taps in graph order, and the layers that cannot or must not be corrected.

    A layer behind which no other layer with learned weights comes is the model's head (class scores, boxes): its output
    statistics are the answer itself and are never corrected.

    Args:
        model: The model's name, for messages.
        steps: Its nodes in topological order.
        fix: Advice of the ModelError that is raised when there is no tap at all.
    """
    heads, varying = find_heads(steps), _find_varying(steps)
    taps: list[T] = []
    taps_of_heads: list[tuple[Step[T], T]] = []
    skipped: list[SkippedLayer] = []
    for place, step in enumerate(steps):
        skipped += [SkippedLayer(label, _INNER) for label in step.inner_layers]
        if step.is_decoding:
            skipped.append(SkippedLayer(step.label, DECODING))
            continue
        try:
            tap = step.tap()
        except LayerSkipped as reason:
            skipped.append(SkippedLayer(step.label, HEAD if place in heads else str(reason)))
            continue
        if tap is None:
            continue
        if place not in heads and place not in varying:
            taps.append(tap)
            continue
        skipped.append(SkippedLayer(step.label, HEAD if place in heads else VARYING))
        if place not in varying:
            taps_of_heads.append((step, tap))
    if not taps:  # a net of one convolution has nothing but heads; then they are all there is to correct
        taps = [tap for step, tap in taps_of_heads if not step.is_linear]
        labels = {step.label for step, _ in taps_of_heads if not step.is_linear}
        skipped = [layer for layer in skipped if layer.name not in labels]
    if not taps:
        reasons = "; ".join(sorted({layer.reason for layer in skipped})) or "no convolution or linear layer"
        found = f"nothing in it can be recalibrated: {reasons}"
        raise ModelError(model, found, "correctable layers", fix, [layer.name for layer in skipped])
    return tuple(taps), tuple(skipped)


def find_heads(steps: Sequence[Step[T]]) -> frozenset[int]:
    """Places of the layers behind which no other layer with weights comes."""
    leads_to_layer: set[Hashable] = set()
    heads: set[int] = set()
    for place in reversed(range(len(steps))):
        step = steps[place]
        is_ahead = not leads_to_layer.isdisjoint(step.writes)
        has_learned = step.has_weights and not step.is_decoding
        if (has_learned or step.is_batch_norm) and not is_ahead:
            heads.add(place)
        if has_learned or is_ahead:
            leads_to_layer.update(step.reads)
    return frozenset(heads)


def _find_varying(steps: Sequence[Step[T]]) -> frozenset[int]:
    """Places of the nodes whose number of entries depends on what the input shows."""
    tensors: set[Hashable] = set()
    places: set[int] = set()
    for place, step in enumerate(steps):
        if step.is_selecting or not tensors.isdisjoint(step.rows_from):
            tensors.update(step.writes)
            places.add(place)
    return frozenset(places)
