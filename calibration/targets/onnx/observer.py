"""The observer: a copy of the model that emits per-frame moments at every tap, and can correct each tap on the way.

Correcting inside the graph makes one pass give what layer-by-layer recalibration would: every layer is measured
behind corrected layers. Built for speed: the baseline's mean and spread are folded into the layer's own constants
(so the data is shifted before it is squared, at no cost), and a correction is one full-size node.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from calibration.patch import RELATIVE_EPS, SCALE_LIMITS, spread
from calibration.stats.moments import Moments, TapMoments, Vector
from calibration.targets.base import MEAN, VARIANCE
from calibration.targets.onnx.graph import OnnxGraph, free_names_of, parse, subgraphs, tensors_read
from calibration.targets.onnx.patch import correct_input, dequantize_layer, scale_float_layer
from calibration.targets.onnx.pointwise import Pointwise, PointwiseWriter, find_pointwise, require_domain
from calibration.targets.onnx.taps import OnnxTap


def name_settings(graph: OnnxGraph) -> list[str]:
    """The inputs other than the samples, as ``Normalisation.settings`` gives them.

    One session serves every candidate.
    """
    return [graph.free.of(setting) for setting in ("prior", "input_scale", "input_offset")]


def name_moments(graph: OnnxGraph, taps: Iterable[OnnxTap]) -> list[str]:
    """Two tensors per tap, each (R, C) after a reshape: means and spreads of the entries of its first axis."""
    return [graph.free.of(part, tap.name) for tap in taps for part in ("mean", "square")]


def measure_unit(healthy: TapMoments) -> Vector:
    """(C,) in which a tap is measured that is corrected: its healthy spread."""
    return spread(healthy.var, healthy.var)


def build_observer(graph: OnnxGraph, taps: Sequence[OnnxTap], baseline: Moments | None) -> bytes:
    """The observer of ``taps`` (in graph order), whose outputs are :func:`name_moments`; ``graph`` is not changed.

    Every tap is set to the baseline before the next layer sees it, and :func:`name_settings` are inputs too; without
    one the model is measured as it is.
    """
    copy = graph.copy()
    writer = _Writer(copy)
    inserted: dict[str, list[NodeProto]] = {}
    for tap in taps:
        if (layer := find_pointwise(copy, tap)) is not None:
            before = layer.node.input[0]
            inserted.setdefault(before, []).extend(_measure_pointwise(writer, layer, baseline))
            continue
        simple = dequantize_layer(copy, tap)
        if baseline is None:
            inserted[tap.name] = writer.measure(simple, tap.name)
            continue
        healthy = baseline[tap.name]
        unit = measure_unit(healthy)
        scale_float_layer(copy, simple, 1 / unit, -healthy.mean / unit)
        raw = copy.free.of("raw", tap.name)
        copy.producers[tap.name].output[0] = raw
        inserted[raw] = writer.measure(simple, raw, centre=False)
        inserted[raw] += writer.correct(simple, raw, healthy)
    _insert_behind(copy, inserted)
    require_domain(copy)
    if baseline is not None:
        _add_settings(copy)
    _keep_only(copy, name_moments(copy, taps))
    return bytes(copy.model.SerializeToString())


def build_probe(graph: OnnxGraph, taps: tuple[OnnxTap, ...], first: int) -> bytes:
    """A model of the first layers: outputs ``<tap>/mean`` and ``<tap>/var``, float32 (N, C) each.

    It gives the very numbers that the baseline was recorded with, at a small share of the cost of an inference. Rows
    that are tokens are brought together to frames: exactly for one frame at a time, as it is run live.
    """
    given = [tap.name + part for tap in taps[:first] for part in (MEAN, VARIANCE)]
    observer = ModelProto.FromString(build_observer(graph, taps[:first], None))
    _make_way(observer.graph, given)
    cut = parse(graph.name, observer.SerializeToString(), graph.input.channel_axis)
    frames = _frames_of(cut)
    for tap in taps[:first]:
        _gather_frames(cut, tap, name_moments(graph, [tap]), frames)
    _keep_only(cut, given)
    return bytes(cut.model.SerializeToString())


def _make_way(proto: GraphProto, given: Sequence[str]) -> None:
    """Rename the tensors whose names the new outputs have: only those outputs are read by name."""
    free = free_names_of(proto)
    new = {name: free.of("own", name) for name in given}

    def rename(graph: GraphProto) -> None:
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = new.get(value.name, value.name)
        for node in graph.node:
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
            for body in subgraphs(node):
                rename(body)

    rename(proto)


def _frames_of(cut: OnnxGraph) -> str:
    """Name of a tensor (1,): how many frames the input holds."""
    first = cut.add_constant(cut.free.of("first"), np.asarray([0], np.int64))
    shape, frames = (cut.free.of(kind) for kind in ("input_shape", "frames"))
    nodes = cut.model.graph.node
    nodes.append(helper.make_node("Shape", [cut.input.name], [shape]))
    nodes.append(helper.make_node("Gather", [shape, first], [frames]))
    return frames


def _gather_frames(cut: OnnxGraph, tap: OnnxTap, rows: list[str], frames: str) -> None:
    """From the moments of rows (R, C) to those of frames (N, C), by the law of total variance."""
    name = partial(cut.free.of, tensor=tap.name)

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        cut.model.graph.node.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def mean_over_rows(source: str, output: str, keepdims: int) -> str:
        if cut.opset < 18:
            return add("ReduceMean", [source], output, axes=[1], keepdims=keepdims)
        return add("ReduceMean", [source, axis], output, keepdims=keepdims)

    rest = cut.add_constant(name("rest"), np.asarray([-1, tap.channels], np.int64))
    axis = cut.add_constant(name("row_axis"), np.asarray([1], np.int64))
    shape = add("Concat", [frames, rest], name("rows_of_frames"), axis=0)
    mean, var = (
        add("Reshape", [row, shape], name(kind))
        for row, kind in zip(rows, ("row_mean", "row_square"), strict=True)
    )
    off = add("Sub", [mean, mean_over_rows(mean, name("frame_mean"), 1)], name("row_off"))
    mean_over_rows(mean, tap.name + MEAN, 0)
    spread_of_rows = add("Add", [var, add("Mul", [off, off], name("row_off2"))], name("row_var"))
    mean_over_rows(spread_of_rows, tap.name + VARIANCE, 0)


def _add_settings(graph: OnnxGraph) -> None:
    """The three inputs :func:`name_settings` and the nodes that everything behind them shares."""
    prior, input_scale, input_offset = name_settings(graph)
    kept, prior_of_kept = _name_shares(graph)
    correct_input(graph, input_scale, input_offset)
    proto = graph.model.graph
    shape = [graph.input.shape[1]]
    for name, dims in ((prior, []), (input_scale, shape), (input_offset, shape)):
        proto.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    one = graph.add_constant(graph.free.of("one"), np.asarray(1, np.float32))
    proto.node.insert(0, helper.make_node("Mul", [prior, kept], [prior_of_kept]))
    proto.node.insert(0, helper.make_node("Sub", [one, prior], [kept]))


def _name_shares(graph: OnnxGraph) -> list[str]:
    """1 - prior, and prior * (1 - prior)."""
    return [graph.free.of(share) for share in ("kept", "prior_of_kept")]


def _measure_pointwise(writer: "_Writer", layer: Pointwise, baseline: Moments | None) -> list[NodeProto]:
    """The nodes that take the place of a pointwise int8 layer."""
    tap = replace(layer.tap, channel_axis=layer.tap.rank - 1)
    product = PointwiseWriter(writer.graph, layer)
    raw = writer.graph.free.of("raw", tap.name)
    nodes = product.move_channels_last()
    if baseline is None:
        nodes += product.product(raw, np.ones(tap.channels), np.zeros(tap.channels))
        return nodes + writer.measure(tap, raw) + product.hand_on(raw)
    healthy = baseline[tap.name]
    nodes += product.product(raw, measure_unit(healthy), healthy.mean)
    nodes += writer.measure(tap, raw, centre=False)
    more, scale, offset = writer.correction(tap, healthy)
    corrected = writer.graph.free.of("corrected", tap.name)
    return nodes + more + product.repeat_product(raw, corrected, scale, offset) + product.hand_on(corrected)


def _insert_behind(graph: OnnxGraph, inserted: dict[str, list[NodeProto]]) -> None:
    """Put new nodes right behind the producer of the tensor they are filed under."""
    nodes: list[NodeProto] = []
    for node in graph.model.graph.node:
        nodes.append(node)
        for output in node.output:
            nodes += inserted.get(output, [])
    _replace_all(graph.model.graph.node, nodes)


def _replace_all(field: Any, messages: Iterable[Any]) -> None:
    """Fill a repeated field with copies of ``messages``, which may be its own."""
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    del field[:]
    field.extend(copies)


def _keep_only(graph: OnnxGraph, fetches: Sequence[str]) -> None:
    """Make ``fetches`` the outputs and drop every node that none of them needs."""
    proto, needed = graph.model.graph, set(fetches)
    kept: list[NodeProto] = []
    for node in reversed(proto.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(tensors_read(node))
    _replace_all(proto.node, kept[::-1])
    _replace_all(proto.initializer, [tensor for tensor in proto.initializer if tensor.name in needed])
    del proto.output[:], proto.value_info[:]
    proto.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in fetches)


class _Writer:
    """Makes the nodes of an observer."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self._constants = 0

    def measure(self, tap: OnnxTap, source: str, centre: bool = True) -> list[NodeProto]:
        """Frame means and mean squares of ``source``; squares around the frame's own mean with ``centre``."""
        axes = [axis for axis in range(1, tap.rank) if axis != tap.channel_axis]
        mean, square = name_moments(self.graph, [tap])
        if not axes:  # (N, C): a frame is one position
            squared = helper.make_node("Sub" if centre else "Mul", [source, source], [square])
            return [helper.make_node("Identity", [source], [mean]), squared]
        nodes = [self._reduce(source, mean, axes, keep=centre)]
        if centre:
            centred = self.graph.free.of("centred", tap.name)
            nodes.append(helper.make_node("Sub", [source, mean], [centred]))
            source = centred
        # Pow, not Mul: ONNX Runtime would keep a Mul in its blocked layout and reorder the squares (25 % of the time).
        squares = self.graph.free.of("squares", tap.name)
        nodes.append(helper.make_node("Pow", [source, self._constant(2.0)], [squares]))
        nodes.append(self._reduce(squares, square, axes, keep=False))
        return nodes

    def correct(self, tap: OnnxTap, source: str, healthy: TapMoments) -> list[NodeProto]:
        """Set ``source``, given in units of the healthy spread around the healthy mean, to the healthy moments."""
        nodes, scale, offset = self.correction(tap, healthy)
        if tap.channel_axis == 1:  # one pass over the data
            zeros, ones = self._constant(np.zeros(tap.channels)), self._constant(np.ones(tap.channels))
            inputs = [source, scale, offset, zeros, ones]
            return [*nodes, helper.make_node("BatchNormalization", inputs, [tap.name], epsilon=0.0)]
        scaled = self.graph.free.of("scaled", tap.name)
        nodes.append(helper.make_node("Mul", [source, scale], [scaled]))
        return [*nodes, helper.make_node("Add", [scaled, offset], [tap.name])]

    def correction(self, tap: OnnxTap, healthy: TapMoments) -> tuple[list[NodeProto], str, str]:
        """Nodes behind those of :meth:`measure`, and the names of the scale and the offset that they give.

        The same formula as :func:`calibration.patch.correction`, on this batch's moments.
        """
        unit = measure_unit(healthy)
        eps = RELATIVE_EPS * float(healthy.var.mean())
        name = partial(self.graph.free.of, tensor=tap.name)
        mean, square = name("batch_mean"), name("batch_square")
        nodes = [
            self._reduce(frames, batch, [0], keep=False)
            for frames, batch in zip(name_moments(self.graph, [tap]), (mean, square), strict=True)
        ]
        prior, (kept_share, prior_of_kept) = name_settings(self.graph)[0], _name_shares(self.graph)

        def add(op: str, inputs: list[str], output: str) -> str:
            nodes.append(helper.make_node(op, inputs, [name(output)]))
            return name(output)

        mean_squared = add("Mul", [mean, mean], "mean_squared")
        var = add("Relu", [add("Sub", [square, mean_squared], "var0")], "var")
        # keep * var + prior * keep * mean^2 + (prior * healthy var + eps) / unit^2
        kept = add("Mul", [var, kept_share], "var_kept")
        shift = add("Mul", [mean_squared, prior_of_kept], "shift")
        share = add("Mul", [self._constant(healthy.var / (unit * unit)), prior], "healthy_share")
        floor = self._constant(np.maximum(eps / (unit * unit), np.finfo(np.float32).tiny))
        blend = add("Add", [add("Add", [kept, shift], "mixed0"), share], "mixed1")
        mixed = add("Add", [blend, floor], "mixed")
        ratio = add("Reciprocal", [add("Sqrt", [mixed], "std")], "ratio0")
        ratio = add("Clip", [ratio, *(self._constant(limit) for limit in SCALE_LIMITS)], "ratio")
        scale = add("Mul", [ratio, self._constant(unit)], "scale")
        moved = add("Mul", [scale, add("Mul", [mean, kept_share], "mean_kept")], "moved")
        offset = add("Sub", [self._constant(healthy.mean), moved], "offset")
        return nodes, scale, offset

    def _reduce(self, source: str, output: str, axes: list[int], keep: bool) -> NodeProto:
        if self.graph.opset < 18:
            return helper.make_node("ReduceMean", [source], [output], axes=axes, keepdims=int(keep))
        name = self.graph.add_constant(self._fresh(), np.asarray(axes, np.int64))
        return helper.make_node("ReduceMean", [source, name], [output], keepdims=int(keep))

    def _constant(self, value: float | NDArray[np.float64]) -> str:
        return self.graph.add_constant(self._fresh(), np.asarray(value, np.float32))

    def _fresh(self) -> str:
        self._constants += 1
        return self.graph.free.of("constant", str(self._constants))
