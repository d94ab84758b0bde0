"""Where the taps (layer outputs) of an OpenVINO IR are. Only reads the graph.

A tap is the output of a convolution, a transposed convolution or a linear layer with constant weights, behind the
per-channel constants that follow it: its bias, or the Subtract, Divide, Multiply and Add that a BatchNorm was taken
apart into (*links*). A live BatchNormInference is a tap too.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.targets.base import SkippedLayer
from calibration.targets.openvino.graph import (
    IrGraph,
    element_type,
    inner_models,
    is_model_output,
    only_reader,
    readers,
    shape_of,
    value,
)
from calibration.targets.tap_choice import LayerSkipped, Step, choose_taps, holds_decoding

BATCH_NORM = "BatchNormInference"

_CHANNEL_AXES = {
    "Convolution": (0,),
    "GroupConvolution": (0, 1),
    "ConvolutionBackpropData": (1,),
    "GroupConvolutionBackpropData": (0, 2),
}
"""Axes of the weights that are the output channels (groups first), by operator."""

_CONVOLUTIONS = tuple(_CHANNEL_AXES)
_WEIGHTED = (*_CONVOLUTIONS, "MatMul")

_NO_CHANNEL_OUTPUT = (
    "BinaryConvolution", "DeformableConvolution", "GRUCell", "GRUSequence", "LSTMCell", "LSTMSequence", "RNNCell",
    "RNNSequence",
)  # fmt: skip
"""Layers with weights whose output cannot be scaled by their constants here."""

_SELECTING = ("NonZero", "NonMaxSuppression", "MatrixNms", "MulticlassNms", "Unique")
"""Give as many entries as the input has of something."""
_OF_THE_FIRST_ONLY = ("ScatterUpdate", "ScatterNDUpdate", "ScatterElementsUpdate", "ShapeOf")
"""Their output has the shape of the first input, or holds nothing of the rows."""

_SHIFTS, _SCALES = ("Add", "Subtract"), ("Multiply", "Divide")


@dataclass(frozen=True, slots=True)
class Link:
    """An elementwise step with one constant per channel, behind a layer."""

    node: Any
    operand: int
    """Which input of ``node`` is the constant."""

    @property
    def place(self) -> Any:
        """The input of ``node`` that reads the constant."""
        return self.node.input(self.operand)

    @property
    def is_scale(self) -> bool:
        """Whether it multiplies or divides; otherwise it adds or subtracts."""
        return self.node.get_type_name() in _SCALES


@dataclass(frozen=True, slots=True)
class IrTap:
    """A tap and the nodes behind it, which belong to one model in memory."""

    name: str
    """Friendly name of the node that gives the tap's tensor."""
    layer: Any
    """The node with the weights, or the BatchNormInference."""
    links: tuple[Link, ...]
    channels: int
    rank: int
    channel_axis: int
    weight_axes: tuple[int, ...]
    """Axes of the weights that are the output channels; empty for BatchNormInference."""
    precision: str
    """``int8``, ``float16`` (compressed), ``float32``..."""

    @property
    def output(self) -> Any:
        """The tap's tensor."""
        return (self.links[-1].node if self.links else self.layer).output(0)

    @property
    def op(self) -> str:
        """OpenVINO's name of the operator."""
        return str(self.layer.get_type_name())

    @property
    def kind(self) -> str:
        """For people."""
        return f"{self.op} {self.precision}"

    def per_channel(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """``values`` (C,) in a shape that broadcasts over the tap's tensor."""
        return values.reshape([-1 if axis == self.channel_axis else 1 for axis in range(self.rank)])


def find_taps(graph: IrGraph) -> tuple[tuple[IrTap, ...], tuple[SkippedLayer, ...]]:
    """All taps in graph order, and the layers that stay as they are; errors as of :func:`choose_taps`."""
    fix = "Convert it with its convolution weights as constants."
    taps, skipped = choose_taps(graph.name, [_describe(graph, node) for node in graph.nodes], fix)
    return tuple(_make_names_unique(taps)), skipped


def _describe(graph: IrGraph, node: Any) -> Step[IrTap]:
    kind, inputs = node.get_type_name(), node.input_values()
    inner = list(_inner_layers(graph, node))
    sources = [source.get_node().get_name() for source in inputs]
    return Step(
        label=label(node),
        reads=sources,
        writes=[node.get_name()],
        rows_from=sources[:1] if kind in _OF_THE_FIRST_ONLY else sources,
        has_weights=bool(inner) or has_weights(graph, node),
        is_decoding=has_weights(graph, node) and is_decoding(node),
        is_batch_norm=kind == BATCH_NORM,
        is_linear=kind == "MatMul",
        is_selecting=kind in _SELECTING and not all(graph.is_constant(source) for source in inputs),
        inner_layers=[label(layer) for layer in inner],
        tap=partial(_find_tap, graph, node),
    )


def label(node: Any) -> str:
    """A layer's name for people."""
    return str(node.get_friendly_name())


def map_taps(copy: IrGraph, taps: tuple[IrTap, ...], graph: IrGraph) -> tuple[IrTap, ...]:
    """The ``taps`` of ``graph`` in a clone of it, without looking for them again."""
    there = dict(zip((node.get_name() for node in graph.nodes), copy.nodes, strict=True))
    return tuple(
        replace(
            tap,
            layer=there[tap.layer.get_name()],
            links=tuple(replace(link, node=there[link.node.get_name()]) for link in tap.links),
        )
        for tap in taps
    )


def _make_names_unique(taps: Iterable[IrTap]) -> Iterator[IrTap]:
    """Friendly names may repeat in an IR; a patch needs them apart."""
    seen = Counter[str]()
    for tap in taps:
        seen[tap.name] += 1
        count = seen[tap.name]
        yield tap if count == 1 else replace(tap, name=f"{tap.name}#{count}")


def _inner_layers(graph: IrGraph, node: Any) -> Iterator[Any]:
    for body in inner_models(node):
        for inner in body.get_ordered_ops():
            if inner.get_type_name() in (*_CONVOLUTIONS, BATCH_NORM) or has_weights(graph, inner):
                yield inner
            yield from _inner_layers(graph, inner)


def has_weights(graph: IrGraph, node: Any) -> bool:
    """Whether a node is a layer whose weights are constants."""
    return node.get_type_name() in _WEIGHTED and graph.is_constant(node.input_value(1))


def is_decoding(node: Any) -> bool:
    """See :func:`calibration.targets.tap_choice.is_decoding`; the weights are constants."""
    kind = node.get_type_name()
    if kind not in ("Convolution", "MatMul") or node.input_value(1).get_partial_shape().is_dynamic:
        return False
    is_turned = kind == "MatMul" and not node.get_attributes()["transpose_b"]
    weights = node.input_value(1)
    return holds_decoding(shape_of(weights), lambda: value(weights).astype(np.float64), is_turned=is_turned)


def _find_tap(graph: IrGraph, node: Any) -> IrTap | None:
    """The tap of a node, None when it is not a layer with weights."""
    kind = node.get_type_name()
    if kind in _NO_CHANNEL_OUTPUT:
        raise LayerSkipped(f"{kind} has no per-channel output that its constants could correct")
    if kind == BATCH_NORM:
        return _read_batch_norm(graph, node)
    if kind in _CONVOLUTIONS:
        return None if _feeds_batch_norm(node) else _read_convolution(graph, node)
    if kind == "MatMul" and has_weights(graph, node):
        return _complete(graph, node, *_channels(node))
    return None


def _feeds_batch_norm(node: Any) -> bool:
    """Then the BatchNormInference behind it is the tap."""
    reader = only_reader(node.output(0))
    return reader is not None and reader.get_node().get_type_name() == BATCH_NORM


def _read_convolution(graph: IrGraph, node: Any) -> IrTap:
    if not graph.is_constant(node.input_value(1)):
        raise LayerSkipped("its weights are not constants")
    return _complete(graph, node, *_channels(node))


def _channels(node: Any) -> tuple[int, int, tuple[int, ...]]:
    """Output channels of a convolution or a linear layer, their axis in its output, and their axes in its weights."""
    shape = _weight_shape(node)
    if node.get_type_name() == "MatMul":
        rank, axis = _rank(node), 0 if node.get_attributes()["transpose_b"] else 1
        if len(shape) != 2 or rank < 2:
            raise LayerSkipped(f"a MatMul with weights of {len(shape)} dimensions is not a linear layer")
        return shape[axis], rank - 1, (axis,)
    axes = _CHANNEL_AXES[node.get_type_name()]
    return math.prod(shape[axis] for axis in axes), 1, axes


def _read_batch_norm(graph: IrGraph, node: Any) -> IrTap:
    if not all(graph.is_constant(source) for source in node.input_values()[1:]):
        raise LayerSkipped("its scale or bias is not a constant")
    return _complete(graph, node, shape_of(node.input_value(1))[0], 1, ())


def _complete(graph: IrGraph, layer: Any, channels: int, axis: int, weight_axes: tuple[int, ...]) -> IrTap:
    rank = _rank(layer)
    links = _read_links(graph, layer, channels, axis)
    output = links[-1].node.output(0) if links else layer.output(0)
    if is_model_output(output):
        raise LayerSkipped("its output is an output of the model")
    if not readers(output):
        raise LayerSkipped("nothing reads its output")
    name, precision = label(output.get_node()), _precision(layer.input_value(1))
    return IrTap(name, layer, links, channels, rank, axis, weight_axes, precision)


def _read_links(graph: IrGraph, layer: Any, channels: int, axis: int) -> tuple[Link, ...]:
    links: list[Link] = []
    output, shape = layer.output(0), [channels if i == axis else 1 for i in range(_rank(layer))]
    while (link := _read_link(graph, output, shape, is_first=not links)) is not None:
        links.append(link)
        output = link.node.output(0)
    return tuple(links)


def behind_links(graph: IrGraph, layer: Any) -> Any:
    """The output of a layer with weights behind its bias, be it a tap or not; its own where that is not known."""
    try:
        links = _read_links(graph, layer, *_channels(layer)[:2])
    except LayerSkipped:
        return layer.output(0)
    return links[-1].node.output(0) if links else layer.output(0)


def _read_link(graph: IrGraph, output: Any, wanted: list[int], *, is_first: bool) -> Link | None:
    """The step behind ``output``, if it is the only one and holds one constant per channel.

    A single factor straight behind the layer (``alpha`` of a Gemm) is one too; others are part of an activation.
    """
    reader = only_reader(output)
    if reader is None or reader.get_node().get_type_name() not in _SHIFTS + _SCALES:
        return None
    node, operand = reader.get_node(), 1 - reader.get_index()
    source = node.input_value(operand)
    is_turned = operand == 0 and node.get_type_name() in ("Subtract", "Divide")  # c - y, c / y
    if is_turned or not graph.is_constant(source) or source.get_partial_shape().is_dynamic:
        return None
    shape = shape_of(source)
    link = Link(node, operand)
    is_alpha = is_first and link.is_scale and shape in ((), (1,))
    return link if is_alpha or [1] * (len(wanted) - len(shape)) + [*shape] == wanted else None


def _weight_shape(node: Any) -> tuple[int, ...]:
    weights = node.input_value(1)
    return value(weights).shape if weights.get_partial_shape().is_dynamic else shape_of(weights)


def _rank(node: Any) -> int:
    rank = node.output(0).get_partial_shape().rank
    if rank.is_dynamic:
        raise LayerSkipped("the shape of its output is unknown")
    return int(rank.get_length())


def _precision(weights: Any) -> str:
    """Type of the constants that the weights are computed from."""
    node = weights.get_node()
    while node.get_type_name() != "Constant":
        if node.get_type_name() == "FakeQuantize":
            return "int8" if node.get_attributes()["levels"] > 16 else "int4"
        node = max(node.input_values(), key=_count_elements).get_node()
    names = {"i8": "int8", "u8": "int8", "i4": "int4", "u4": "int4", "f16": "float16", "f32": "float32"}
    return names.get(element_type(node), element_type(node))


def _count_elements(output: Any) -> int:
    return 0 if output.get_partial_shape().is_dynamic else math.prod(shape_of(output))
