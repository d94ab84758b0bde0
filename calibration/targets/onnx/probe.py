"""The probe: only the first layers of a model, with the moments of single frames as outputs, for live drift.

It is the observer cut off behind the first taps, so that watching for drift costs a small share of one inference
and gives the very numbers that the baseline was recorded with. Rows that are tokens are brought together to frames:
exactly for one frame at a time, which is how it is run live.
"""

import numpy as np
from onnx import NodeProto, TensorProto, helper

from calibration.targets.base import MEAN, VARIANCE
from calibration.targets.onnx.graph import OnnxGraph, parse
from calibration.targets.onnx.observer import build_observer
from calibration.targets.onnx.taps import OnnxTap


def build_probe(graph: OnnxGraph, taps: tuple[OnnxTap, ...], first: int) -> bytes:
    """An ONNX model: outputs ``<tap>/mean`` and ``<tap>/var``, float32 (N, C) each."""
    observer = build_observer(graph, taps[:first], None)
    cut = parse(graph.name, observer.model)
    frames = _frames_of(cut)
    del cut.model.graph.output[:]
    for tap, rows in zip(observer.taps, _pairs(observer.fetches), strict=True):
        _gather_frames(cut, tap, rows, frames)
        cut.model.graph.output.extend(
            helper.make_tensor_value_info(tap.name + part, TensorProto.FLOAT, None)
            for part in (MEAN, VARIANCE)
        )
    _keep_only_what_outputs_need(cut)
    return bytes(cut.model.SerializeToString())


def _frames_of(cut: OnnxGraph) -> str:
    """Name of a tensor (1,): how many frames the input holds."""
    first = cut.add_constant("calibration__first", np.asarray([0], np.int64))
    cut.model.graph.node.extend(
        [
            helper.make_node("Shape", [cut.input_name], ["calibration__input_shape"]),
            helper.make_node("Gather", ["calibration__input_shape", first], ["calibration__frames"]),
        ]
    )
    return "calibration__frames"


def _gather_frames(cut: OnnxGraph, tap: OnnxTap, rows: tuple[str, str], frames: str) -> None:
    """From the moments of rows (R, C) to those of frames (N, C), by the law of total variance."""

    def add(op: str, inputs: list[str], output: str, **attributes: int) -> str:
        cut.model.graph.node.append(helper.make_node(op, inputs, [f"{tap.name}{output}"], **attributes))
        return f"{tap.name}{output}"

    def mean_over_rows(source: str, output: str, keepdims: int) -> str:
        if cut.opset < 18:
            cut.model.graph.node.append(
                helper.make_node("ReduceMean", [source], [tap.name + output], axes=[1], keepdims=keepdims)
            )
            return tap.name + output
        return add("ReduceMean", [source, axis], output, keepdims=keepdims)

    rest = cut.add_constant(f"{tap.name}__rest", np.asarray([-1, tap.channels], np.int64))
    axis = cut.add_constant(f"{tap.name}__row_axis", np.asarray([1], np.int64))
    shape = add("Concat", [frames, rest], "__rows_of_frames", axis=0)
    mean, var = (add("Reshape", [part, shape], f"{part}__rows") for part in rows)
    off = add("Sub", [mean, mean_over_rows(mean, "__frame_mean", 1)], "__row_off")
    mean_over_rows(mean, MEAN, 0)
    mean_over_rows(add("Add", [var, add("Mul", [off, off], "__row_off2")], "__row_var"), VARIANCE, 0)


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    return list(zip(names[::2], names[1::2], strict=True))


def _keep_only_what_outputs_need(cut: OnnxGraph) -> None:
    needed = {output.name for output in cut.model.graph.output}
    kept: list[NodeProto] = []
    for node in reversed(cut.model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del cut.model.graph.node[:]
    cut.model.graph.node.extend(reversed(kept))
    constants = [initializer for initializer in cut.model.graph.initializer if initializer.name in needed]
    del cut.model.graph.initializer[:]
    cut.model.graph.initializer.extend(constants)
