"""What this library puts into the graph of a TorchScript model.

It is written as TorchScript text and compiled here; it becomes plain operators, so a saved graph (the probe) runs
wherever torch does.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

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


def corrected_copy(y: Tensor, scale: Tensor, offset: Tensor, axis: int) -> Tensor:
    shape = [1] * axis + [-1] + [1] * (y.dim() - axis - 1)
    return y * scale.reshape(shape) + offset.reshape(shape)


def corrected_copy_last_axis(y: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return y * scale + offset


def product(one: Tensor, other: Tensor) -> Tensor:
    return one * other


def copied(y: Tensor) -> Tensor:
    return y.clone()


def empty_list() -> List[int]:
    found: List[int] = []
    return found


def note(with_gradient: List[int], without: List[int], place: int, y: Tensor) -> None:
    if y.requires_grad:
        with_gradient.append(place)
    else:
        without.append(place)
"""


def insert(graph: Any, behind: Any, stage: str, arguments: Sequence[Any]) -> tuple[list[Any], Any]:
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


def correct_in_front(graph: Any, source: Any, scale: Any, offset: Any, axis: int) -> None:
    """Correct the input itself in front of everything that reads it; scale and offset are tensors or values.

    ``axis`` is that of its channels.
    """
    marker = graph.create("prim::Constant", 1)
    graph.prependNode(marker)
    (corrected,), last = insert(graph, marker, "corrected_copy", [source, scale, offset, axis])
    source.replaceAllUsesAfterNodeWith(last, corrected)
    marker.destroy()


@cache
def _stages() -> dict[str, Any]:
    """The graphs of the functions in ``_SOURCE``, by name."""
    compiled = torch.jit.CompilationUnit(_SOURCE)
    names = re.findall(r"^def (\w+)", _SOURCE, re.MULTILINE)
    return {name: getattr(compiled, name).inlined_graph for name in names}
