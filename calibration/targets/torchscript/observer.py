"""The observer: a flat copy of the model that gives per-frame moments at the taps, and can correct each tap on the way.

Correcting inside the graph makes one pass give what layer-by-layer recalibration would: every layer is measured
behind corrected layers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from calibration.patch import RELATIVE_EPS, SCALE_LIMITS, Affine
from calibration.stats.moments import TapMoments
from calibration.targets.base import MEAN, VARIANCE, Normalisation
from calibration.targets.torchscript.graph import TorchGraph
from calibration.targets.torchscript.stages import correct_in_front, insert
from calibration.targets.torchscript.taps import TorchTap


def build_observer(
    graph: TorchGraph,
    taps: Sequence[TorchTap],
    normalise: Normalisation | None,
    *,
    channel_axis: int = 1,
    by_frame: bool = False,
) -> Any:
    """A ``ScriptFunction``: samples in, dict of ``<tap>/mean`` and ``<tap>/var`` out, float64 (rows, C).

    A row is an entry of the tap's first axis, see ``passes.Rows``; ``by_frame`` gathers those of each frame.
    ``channel_axis`` is that of the input.
    ``graph`` is used up.
    """
    outputs: dict[str, Any] = {}
    for tap in taps:
        stage = "moments_of_last_axis" if tap.is_channel_last else "moments"
        (mean, var), last = insert(graph.graph, tap.output.node(), stage, [tap.output, tap.channels])
        if by_frame:
            (mean, var), last = insert(graph.graph, last, "frames_of_rows", [graph.input, mean, var])
        outputs |= {tap.name + MEAN: mean, tap.name + VARIANCE: var}
        if normalise is not None:
            last = _normalise(graph.graph, tap, (mean, var), normalise, last)
    if normalise is not None and normalise.input is not None:
        insert_input_correction(graph.graph, graph.input, normalise.input, channel_axis)
    _cut_behind(graph.graph, last)
    _return_dict(graph.graph, outputs)
    torch._C._jit_pass_dce_graph(graph.graph)
    return torch._C._create_function_from_graph("observe", graph.graph)


def insert_input_correction(graph: Any, source: Any, affine: Affine, channel_axis: int) -> None:
    """Correct the input itself in front of everything that reads it; ``graph`` may be any module's own."""
    if not affine.touched.any():
        return
    scale, offset = (torch.from_numpy(part.copy()) for part in (affine.scale, affine.offset))
    correct_in_front(graph, source, scale, offset, channel_axis)


def _normalise(
    graph: Any, tap: TorchTap, seen: tuple[Any, Any], normalise: Normalisation, behind: Any
) -> Any:
    """Set a tap to the healthy moments for everything behind it; gives the last new node."""
    healthy: TapMoments = normalise.baseline[tap.name]
    eps = RELATIVE_EPS * float(healthy.var.mean()) + float(np.finfo(np.float64).tiny)
    given = [torch.from_numpy(part.copy()) for part in (healthy.mean, healthy.var)]
    arguments = [*seen, *given, eps, normalise.prior, *SCALE_LIMITS]
    (scale, offset), behind = insert(graph, behind, "correction", arguments)
    stage = "corrected_last_axis" if tap.is_channel_last else "corrected"
    (better,), last = insert(graph, behind, stage, [tap.output, scale, offset])
    tap.output.replaceAllUsesAfterNodeWith(last, better)
    return last


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
