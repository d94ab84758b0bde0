"""Where the channels of a TorchScript module's input lie, and how many: as its first layer takes them.

A TorchScript file tells no shapes, so the number of axes is that of the first layer, counted back.
"""

from dataclasses import dataclass
from typing import Any

from calibration.errors import ModelError
from calibration.targets.axes import Insert, Move, Permute, Remove, Swap, find_axis_before
from calibration.targets.base import InputLayout
from calibration.targets.model_input import read_layout
from calibration.targets.torchscript.graph import (
    CONVOLUTIONS,
    LAYERS,
    RECURRENT,
    TorchGraph,
    constant,
    find_weights,
    inputs_of,
    read_convolution_form,
    readers,
)

_MOVE_AXES = ("aten::permute", "aten::transpose", "aten::movedim", "aten::swapaxes")
_KEEP_CHANNELS = (
    "aten::sub", "aten::add", "aten::mul", "aten::div", "aten::sub_", "aten::add_", "aten::mul_", "aten::div_",
    "aten::to", "aten::contiguous", "aten::clone", "aten::detach", "aten::pad", "aten::constant_pad_nd",
    "aten::clamp", "aten::float", "aten::upsample_bilinear2d", "aten::upsample_nearest2d", "aten::dropout",
)  # fmt: skip
_MOST_STEPS = 20


@dataclass(frozen=True, slots=True)
class TorchInput:
    """The samples that a module takes."""

    shape: tuple[int | None, ...] | None
    """(None, C, None, ...), channels second; None when the module does not tell."""
    channel_axis: int
    """In the module's own layout."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The first layer behind the input, and how it takes it."""

    channels: int
    axis: int
    """Of the channels in what the layer reads; -1 is the last."""
    rank: int | None
    """Of what the layer reads; None where any number of axes will do."""


def locate_channels(graph: TorchGraph, layout: InputLayout | None) -> TorchInput:
    """The input as it is told, or as the way to the first layer says.

    Raises:
        ModelError: the layout does not fit, or the module moves the axes of its input in a way that is not known.
    """
    found, moves = _find_first_layer(graph)
    traced = None
    if found is not None and moves is not None and found.rank is not None:
        traced = find_axis_before(moves, found.axis % found.rank, found.rank)
    if layout is not None:
        axis = read_layout(graph.name, layout, traced[1] if traced else None)
        place = traced[0] if traced else len(layout) - 1 if found and not moves else None
        channels = found.channels if found and place == axis else None
        return TorchInput(_shape(channels, len(layout)), axis)
    if moves is None:
        what = "the axes of its samples have another order (forward begins with a permute or transpose)"
        fix = (
            "Save a module around it that takes (N, C, ...) and permutes to what it wants, or say the layout."
        )
        raise ModelError(graph.name, what, "(N, C, ...)", fix)
    if found is None or traced is None or not traced[0]:
        return TorchInput(None, 1)
    return TorchInput(_shape(found.channels, traced[1]), traced[0])


def _shape(channels: int | None, rank: int) -> tuple[int | None, ...]:
    return (None, channels, *[None] * (rank - 2))


def _find_first_layer(graph: TorchGraph) -> tuple[_Found | None, list[Move] | None]:
    """The first layer on a short way of operators that keep or move the channels, and those moves.

    There is no layer where the way does not end at one, and no moves where the axes get an order that is not known.
    """
    value, moves = graph.input, list[Move]()
    for _ in range(_MOST_STEPS):
        following = readers(value)
        layer = next((node for node in following if node.kind() in (*LAYERS, *RECURRENT)), None)
        if layer is not None:
            return _read_layer(graph, layer), moves
        if not following or not following[0].outputsSize():
            return None, moves
        step = _read_move(following[0])
        if step is None and following[0].kind() not in _KEEP_CHANNELS:
            return None, None if following[0].kind() in _MOVE_AXES else moves
        moves += [] if step is None else [step]
        value = following[0].output()
    return None, moves


def _read_move(node: Any) -> Move | None:
    """A step that only moves axes; None for any other, or where its axes are not constants."""
    given = [_integers(value) for value in inputs_of(node)[1:]]
    match node.kind(), given:
        case "aten::permute", [[*order]]:
            return Permute(tuple(order))
        case "aten::transpose" | "aten::swapaxes", [[one], [other]]:
            return Swap(one, other)
        case "aten::unsqueeze", [[axis]]:
            return Insert(axis)
        case "aten::squeeze", [[axis]]:
            return Remove(axis)
    return None


def _integers(value: Any) -> list[int] | None:
    """A constant integer or list of them."""
    node = value.node()
    if node.kind() == "prim::ListConstruct":
        parts = [constant(part) for part in inputs_of(node)]
        return parts if all(isinstance(part, int) for part in parts) else None
    found = constant(value)
    return [found] if isinstance(found, int) else found if isinstance(found, list) else None


def _read_layer(graph: TorchGraph, layer: Any) -> _Found | None:
    if layer.kind() in RECURRENT:
        return _read_recurrent(graph, layer)
    weight = find_weights(graph, layer)
    if weight is None:
        return None
    if layer.kind() in CONVOLUTIONS:
        transposed, groups = read_convolution_form(layer)
        channels = weight.shape[0] if transposed else weight.shape[1] * groups
        return _Found(int(channels), 1, weight.ndim)
    if layer.kind() == "aten::linear":
        return _Found(int(weight.shape[1]), -1, None)
    return None


def _read_recurrent(graph: TorchGraph, layer: Any) -> _Found | None:
    """It reads (N, T, C) or (T, N, C); the first matrix among its parameters is that of the input."""
    lists = [value.node() for value in inputs_of(layer)[1:] if value.node().kind() == "prim::ListConstruct"]
    tensors = [graph.tensor(value) for node in lists for value in inputs_of(node)]
    first = next((one for one in tensors if one is not None and one.ndim == 2), None)
    return None if first is None else _Found(int(first.shape[1]), 2, 3)
