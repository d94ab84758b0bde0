"""The probe: only the first layers of a model, with the moments of single frames as outputs, for live drift.

It is the observer cut off behind the first taps, so that watching for drift costs a small share of one inference and
gives the very numbers that the baseline was recorded with. Used only by ``calibration.probe``.
"""

from onnx import NodeProto

from calibration.targets import onnx_observer
from calibration.targets.onnx_graph import OnnxGraph, parse
from calibration.targets.onnx_taps import OnnxTap

MEAN, VARIANCE = "/mean", "/var"


def build(graph: OnnxGraph, taps: tuple[OnnxTap, ...], first: int) -> bytes:
    """An ONNX model: outputs ``<tap>/mean`` and ``<tap>/var``, float32, N*C elements each."""
    observer = onnx_observer.build(graph, taps[:first], None)
    cut = parse(graph.name, observer.model)
    renamed = {
        name: tap.name + suffix
        for tap, pair in zip(observer.taps, _pairs(observer.fetches), strict=True)
        for name, suffix in zip(pair, (MEAN, VARIANCE), strict=True)
    }
    for output in cut.model.graph.output:
        output.name = renamed[output.name]
    for node in cut.model.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    _keep_only_what_outputs_need(cut)
    return bytes(cut.model.SerializeToString())


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
