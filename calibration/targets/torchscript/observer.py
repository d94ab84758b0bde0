"""The observer: a flat copy of the model that gives per-frame moments at the taps, and can correct each tap on the way.

Correcting inside the graph makes one pass give what layer-by-layer recalibration would: every layer is measured
behind corrected layers. What is inserted is written as TorchScript text and compiled here; it becomes plain
operators, so a saved observer (the probe) runs wherever torch does.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from calibration.patch import RELATIVE_EPS, SCALE_LIMITS, Affine
from calibration.stats.moments import TapMoments
from calibration.targets.base import MEAN, VARIANCE, Normalisation
from calibration.targets.torchscript.graph import TorchGraph
from calibration.targets.torchscript.taps import TorchTap

_SOURCE = """
def moments(y: Tensor, channels: int) -> Tuple[Tensor, Tensor]:
    # Two passes over centred data: exact at any mean/std that float32 can carry.
    flat = y.reshape([y.size(0), channels, -1])
    mean = flat.mean([2], True)
    spread = torch.norm(flat - mean, 2, [2]).double()
    return mean.squeeze(2).double(), spread * spread / flat.size(2)


def moments_of_last_axis(y: Tensor, channels: int) -> Tuple[Tensor, Tensor]:
    return moments(y.movedim(-1, 1), channels)


def frames_of_rows(x: Tensor, mean: Tensor, var: Tensor) -> Tuple[Tensor, Tensor]:
    # The law of total variance; exact for one frame at a time, which is how a probe is run live.
    means = mean.reshape([x.size(0), -1, mean.size(1)])
    variances = var.reshape([x.size(0), -1, var.size(1)])
    return means.mean([1]), variances.mean([1]) + means.var([1], unbiased=False)


def correction(
    frame_mean: Tensor, frame_var: Tensor, healthy_mean: Tensor, healthy_var: Tensor, eps: float, prior: float,
    least: float, most: float
) -> Tuple[Tensor, Tensor]:
    # calibration.patch.correction, on the moments of this batch
    observed_mean = frame_mean.mean([0])
    observed_var = frame_var.mean([0]) + frame_mean.var([0], unbiased=False)
    step = observed_mean - healthy_mean
    mean = healthy_mean + (1 - prior) * step
    var = healthy_var + (1 - prior) * (observed_var - healthy_var) + prior * (1 - prior) * step * step
    scale = ((healthy_var + eps) / (var.clamp(min=0.0) + eps)).sqrt().clamp(least, most)
    return scale.float(), (healthy_mean - scale * mean).float()


def corrected(y: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    # In place: the output of a layer has no other reader, and a copy would be the largest tensor of all.
    return y.movedim(1, -1).mul_(scale).add_(offset).movedim(-1, 1)


def corrected_last_axis(y: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return y.mul_(scale).add_(offset)


def corrected_input(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    shape = [1, -1] + [1] * (x.dim() - 2)
    return x * scale.reshape(shape) + offset.reshape(shape)
"""


def build_observer(
    graph: TorchGraph, taps: Sequence[TorchTap], normalise: Normalisation | None, *, by_frame: bool = False
) -> Any:
    """A ``ScriptFunction``: pictures in, dict of ``<tap>/mean`` and ``<tap>/var`` out, float64 (rows, C).

    A row is an entry of the tap's first axis, see ``passes.Rows``; ``by_frame`` gathers those of each frame.
    ``graph`` is used up.
    """
    outputs: dict[str, Any] = {}
    for tap in taps:
        stage = "moments_of_last_axis" if tap.is_channel_last else "moments"
        (mean, var), last = _insert(graph.graph, tap.output.node(), stage, [tap.output, tap.channels])
        if by_frame:
            (mean, var), last = _insert(graph.graph, last, "frames_of_rows", [graph.input, mean, var])
        outputs |= {tap.name + MEAN: mean, tap.name + VARIANCE: var}
        if normalise is not None:
            last = _normalise(graph.graph, tap, (mean, var), normalise, last)
    if normalise is not None and normalise.input is not None:
        insert_input_correction(graph.graph, graph.input, normalise.input)
    _cut_behind(graph.graph, last)
    _return_dict(graph.graph, outputs)
    torch._C._jit_pass_dce_graph(graph.graph)
    return torch._C._create_function_from_graph("observe", graph.graph)


def insert_input_correction(graph: Any, picture: Any, affine: Affine) -> None:
    """Correct the input itself in front of everything that reads it; ``graph`` may be any module's own."""
    if not affine.touched.any():
        return
    marker = graph.create("prim::Constant", 1)
    graph.prependNode(marker)
    values = [picture, *(torch.from_numpy(part.copy()) for part in (affine.scale, affine.offset))]
    (corrected,), last = _insert(graph, marker, "corrected_input", values)
    picture.replaceAllUsesAfterNodeWith(last, corrected)
    marker.destroy()


def _normalise(
    graph: Any, tap: TorchTap, seen: tuple[Any, Any], normalise: Normalisation, behind: Any
) -> Any:
    """Set a tap to the healthy moments for everything behind it; gives the last new node."""
    healthy: TapMoments = normalise.baseline[tap.name]
    eps = RELATIVE_EPS * float(healthy.var.mean()) + float(np.finfo(np.float64).tiny)
    given = [torch.from_numpy(part.copy()) for part in (healthy.mean, healthy.var)]
    arguments = [*seen, *given, eps, normalise.prior, *SCALE_LIMITS]
    (scale, offset), behind = _insert(graph, behind, "correction", arguments)
    stage = "corrected_last_axis" if tap.is_channel_last else "corrected"
    (better,), last = _insert(graph, behind, stage, [tap.output, scale, offset])
    tap.output.replaceAllUsesAfterNodeWith(last, better)
    return last


def _insert(graph: Any, behind: Any, stage: str, arguments: Sequence[Any]) -> tuple[list[Any], Any]:
    """Put a stage of ``_SOURCE`` right behind a node; gives its results and the last new node."""
    marker = graph.create("prim::Constant", 1)
    marker.insertAfter(behind)
    with graph.insert_point_guard(marker):
        values = [v if isinstance(v, torch._C.Value) else graph.insertConstant(v) for v in arguments]
        (result,) = graph.insertGraph(_stages()[stage], values)
    last = marker.prev()
    marker.destroy()
    is_tuple = result.node().kind() == "prim::TupleConstruct"
    return (list(result.node().inputs()) if is_tuple else [result]), last


@cache
def _stages() -> dict[str, Any]:
    """The graphs of the functions in ``_SOURCE``, by name."""
    compiled = torch.jit.CompilationUnit(_SOURCE)
    names = re.findall(r"^def (\w+)", _SOURCE, re.MULTILINE)
    return {name: getattr(compiled, name).inlined_graph for name in names}


def _cut_behind(graph: Any, last: Any) -> None:
    """Remove the outputs and every node behind ``last``: nothing measured depends on them."""
    graph.eraseOutput(0)
    nodes = list(graph.nodes())
    while nodes and nodes[-1] != last:
        nodes.pop().destroy()


def _return_dict(graph: Any, outputs: dict[str, Any]) -> None:
    pairs: list[Any] = []
    for name, value in outputs.items():
        pairs += [graph.insertConstant(name), value]
    node = graph.create("prim::DictConstruct", pairs, 1)
    node.output().setType(torch._C.DictType(torch._C.StringType.get(), torch._C.TensorType.get()))
    graph.appendNode(node)
    graph.registerOutput(node.output())
