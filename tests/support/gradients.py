"""Compares the derivatives of an ONNX net with those that torch finds for the same arithmetic in float64.

A net is: input (N, K) - Gemm, the tap - Reshape - the operators under test. The tap has a scale and an offset for
every single value, so the gradients by them are those by every value that the operators read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from calibration.patch import Affine
from calibration.targets.base import Aim, Gradients, LossKind
from calibration.targets.open import open_onnx
from tests.support.onnx_nets import Net

Twin = Callable[..., torch.Tensor]
Settings = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""Scale and offset by tap."""
ModelTwin = Callable[[torch.Tensor, Settings], torch.Tensor]

BATCH = 2
TAP = "tap"


@dataclass(frozen=True)
class Problem:
    """Operators on one tensor, in ONNX and in torch."""

    shape: tuple[int, ...]
    """Of what they read, without the batch."""
    build: Callable[[Net, str], str]
    """Adds them behind a tensor (N, ...) and gives the name of their output."""
    twin: Callable[[torch.Tensor], torch.Tensor]
    opset: int = 17
    spread: float = 1.0
    """Of the values that they read."""


def one(
    op: str,
    shape: tuple[int, ...],
    twin: Twin,
    *parameters: Any,
    opset: int = 17,
    spread: float = 1.0,
    output: int = 0,
    **attributes: Any,
) -> Problem:
    """A problem of one operator; ``twin`` is given the tensor and those of its parameters that are numbers.

    A parameter None stands for an input that is left out; float parameters become float32.
    """
    values = [None if p is None else _constant(p) for p in parameters]

    def build(net: Net, x: str) -> str:
        names = ["" if v is None else net.weight(f"p{i}", v) for i, v in enumerate(values)]
        outputs = [f"unused_{i}" for i in range(output)] + ["y"]
        net.nodes.append(helper.make_node(op, [x, *names], outputs, **attributes))
        return "y"

    given = [
        torch.from_numpy(np.asarray(v, np.float64)) for v in values if v is not None and v.dtype.kind == "f"
    ]
    return Problem(shape, build, lambda x: twin(x, *given), opset, spread)


def normal(*shape: int, seed: int = 1, scale: float = 0.5) -> NDArray[np.float32]:
    """Random weights."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def _constant(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def net_bytes(problem: Problem) -> tuple[bytes, str, NDArray[np.float32], NDArray[np.float32]]:
    """The file, its output, and weight (K, K) and bias (K,) of the tap."""
    net, size = Net(3, problem.opset), int(np.prod(problem.shape))
    weight = normal(size, size, seed=2, scale=problem.spread * size**-0.5)
    bias = normal(size, seed=4, scale=problem.spread * 0.3)
    net.add("Gemm", ["input", net.weight("gemm_w", weight), net.weight("gemm_b", bias)], TAP, transB=1)
    x = net.add("Reshape", [TAP, net.weight("shape", np.array([-1, *problem.shape]))], "x")
    output = problem.build(net, x)
    return file_of(net, [output, another_layer(net, TAP, size)], ("N", size)), output, weight, bias


def another_layer(net: Net, source: str, channels: int) -> str:
    """A layer behind ``source`` (N, channels): the last one is no tap."""
    return net.add("Gemm", [source, net.normal("head_w", channels, 1)], "head")


def file_of(net: Net, outputs: Sequence[str], shape: Sequence[Any], dtype: int = TensorProto.FLOAT) -> bytes:
    """The net with float outputs of any shape."""
    graph = helper.make_graph(
        net.nodes,
        "net",
        [helper.make_tensor_value_info("input", dtype, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
        net.weights,
    )
    imports = [helper.make_opsetid("", net.opset)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())


def affines_for(gradients: Gradients, channels: Mapping[str, int]) -> dict[str, Affine]:
    """Corrections that are no identity."""
    rng = np.random.default_rng(5)
    return {
        tap: Affine(
            rng.uniform(0.7, 1.3, channels[tap]).astype(np.float32),
            rng.normal(0, 0.2, channels[tap]).astype(np.float32),
        )
        for tap in gradients.taps
    }


def loss_of(kind: LossKind, y: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The definition in :class:`calibration.targets.base.Aim`."""
    if kind == "squares":
        return (weight * (y - target) ** 2).sum() / 2
    if kind == "softmax":
        return -(weight * target * torch.log_softmax(y, 1)).sum()
    if kind == "likelihood":
        return -(weight * target * torch.log(y + 1e-3)).sum()
    each = torch.nn.functional.binary_cross_entropy_with_logits(y, target, reduction="none")
    return (weight * each).sum()


def relative_errors(
    model: bytes,
    twin: ModelTwin,
    x: NDArray[np.float32],
    output: str,
    kind: LossKind = "squares",
) -> dict[str, float]:
    """How far losses and gradients are from torch's, by what they are of.

    Args:
        model: An ONNX file.
        twin: The same in torch, float64, from the picture and (scale, offset) by tap, each (C,).
        x: float32 (N, C, ...).
        output: The one that is compared.
        kind: Of the comparison.
    """
    opened = open_onnx(model)
    gradients = opened.differentiate([Aim(output, kind)], x)
    assert gradients.aims == (Aim(output, kind),), gradients.problems
    channels = {tap.name: tap.channels for tap in opened.taps} | {"input": x.shape[1]}
    return errors_against(twin, gradients, channels, x)


def errors_against(
    twin: ModelTwin, gradients: Gradients, channels: Mapping[str, int], x: NDArray[np.float32]
) -> dict[str, float]:
    """The same for derivatives of one aim; ``channels`` are those of the taps."""
    [aim] = gradients.aims
    output, kind = aim.name, aim.kind
    affines = affines_for(gradients, channels)
    shape = gradients.run(x)[output].shape
    rng = np.random.default_rng(6)
    target = rng.uniform(0, 1, shape).astype(np.float32)
    weight = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    losses, slopes = gradients.step(x, affines, {output: target}, {output: weight})

    settings = {tap: (_leaf(affine.scale), _leaf(affine.offset)) for tap, affine in affines.items()}
    y = twin(torch.from_numpy(x.astype(np.float64)), settings)
    assert tuple(y.shape) == shape
    loss = loss_of(kind, y, *(torch.from_numpy(v.astype(np.float64)) for v in (target, weight)))
    loss.backward()
    found = {"loss": abs(losses[output] - float(loss.detach())) / abs(float(loss.detach()))}
    for tap, (scale, offset) in settings.items():
        for name, ours, theirs in (
            ("scale", slopes[tap].scale, scale),
            ("offset", slopes[tap].offset, offset),
        ):
            found[f"{tap} {name}"] = _distance(ours, theirs.grad.numpy())
    return found


def errors_of(problem: Problem, kind: LossKind = "squares") -> dict[str, float]:
    """The same for a problem."""
    model, output, weight, bias = net_bytes(problem)
    w, b = (torch.from_numpy(v.astype(np.float64)) for v in (weight, bias))

    def twin(x: torch.Tensor, settings: Settings) -> torch.Tensor:
        scale, offset = settings["input"]
        x = (x * scale + offset) @ w.T + b
        scale, offset = settings[TAP]
        return problem.twin((x * scale + offset).reshape(-1, *problem.shape))

    x = np.random.default_rng(7).normal(0, 1, (BATCH, len(weight))).astype(np.float32)
    return relative_errors(model, twin, x, output, kind)


def errors_by_losses(problem: Problem) -> float:
    """The same for linear operators, by the losses of the graph itself: along a line they are a parabola."""
    model, output, _, bias = net_bytes(problem)
    x = np.random.default_rng(7).normal(0, 1, (BATCH, len(bias))).astype(np.float32)
    gradients = open_onnx(model).differentiate([Aim(output)], x)
    rng = np.random.default_rng(8)
    start = affines_for(gradients, {"input": len(bias), TAP: len(bias)})
    target = {output: rng.normal(0, 1, gradients.run(x)[output].shape).astype(np.float32)}
    weight = {output: np.ones((), np.float32)}
    _, slopes = gradients.step(x, start, target, weight)
    found, wanted = list[float](), list[float]()
    for _ in range(8):
        way = rng.normal(0, 1, len(bias)).astype(np.float32)
        losses = [
            gradients.step(
                x, start | {TAP: Affine(start[TAP].scale, start[TAP].offset + sign * way)}, target, weight
            )[0][output]
            for sign in (-1, 1)
        ]
        wanted.append((losses[1] - losses[0]) / 2)
        found.append(float(slopes[TAP].offset @ way))
    return _distance(np.array(found), np.array(wanted))


def _leaf(value: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(value.astype(np.float64)).requires_grad_()


def _distance(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    assert found.shape == wanted.shape
    return float(np.linalg.norm(found - wanted) / max(float(np.linalg.norm(wanted)), 1e-12))
