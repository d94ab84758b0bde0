"""The derivatives of weighted layers and normalisations, compared with torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support.gradients import Problem, errors_of, normal, one

pytestmark = pytest.mark.integration


def conv(
    shape: tuple[int, ...],
    weight: tuple[int, ...],
    pads: Sequence[int] = (),
    bias: bool = True,
    **attributes: Any,
) -> Problem:
    """``pads`` in ONNX's order: all at the front, then all at the end."""
    rank = len(weight) - 2
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[rank - 1]
    ends = [(p, q) for p, q in zip(pads[:rank], pads[rank:], strict=True)][::-1]

    def twin(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        x = functional.pad(x, [n for pair in ends for n in pair])
        more = {"stride": "strides", "dilation": "dilations", "groups": "group"}
        return convolve(x, w, b, **{k: v for k, a in more.items() if (v := attributes.get(a)) is not None})

    parameters = [normal(*weight), *([normal(weight[0], seed=9)] if bias else [])]
    given = {"pads": list(pads)} if pads else {}
    return one("Conv", shape, twin, *parameters, **given, **attributes)


def same(pads: Sequence[int], auto_pad: str, *args: Any, **attributes: Any) -> Problem:
    """A Conv that computes its pads, and a twin that is given them."""
    problem = conv(*args, pads=pads, **attributes)
    automatic = conv(*args, auto_pad=auto_pad, **attributes)
    return Problem(problem.shape, automatic.build, problem.twin)


CONVOLUTIONS = {
    "1d": conv((3, 9), (4, 3, 3), (1, 1)),
    "1d strided": conv((3, 10), (4, 3, 3), (1, 0), strides=[2]),
    "2d": conv((3, 6, 5), (4, 3, 3, 3), (1, 1, 1, 1)),
    "without bias": conv((3, 6, 5), (4, 3, 3, 3), bias=False),
    "pointwise": conv((5, 4, 4), (6, 5, 1, 1)),
    "pointwise strided": conv((5, 5, 4), (6, 5, 1, 1), strides=[2, 2]),
    "3d": conv((2, 4, 5, 4), (3, 2, 3, 3, 3), (1,) * 6),
    "3d strided": conv((2, 5, 5, 4), (3, 2, 2, 3, 3), (1, 0, 1, 0, 1, 1), strides=[2, 2, 1]),
    "grouped": conv((6, 5, 5), (4, 3, 3, 3), (1, 1, 1, 1), group=2),
    "grouped strided": conv((6, 6, 5), (4, 3, 3, 3), (1, 1, 1, 1), group=2, strides=[2, 2]),
    "depthwise": conv((6, 5, 5), (6, 1, 3, 3), (1, 1, 1, 1), group=6),
    "depthwise strided": conv((6, 7, 6), (6, 1, 5, 5), (2, 2, 2, 2), group=6, strides=[2, 2]),
    "depthwise with a multiplier": conv((3, 5, 5), (6, 1, 3, 3), (1, 1, 1, 1), group=3),
    "strides that leave a rest": conv((2, 8, 9), (3, 2, 3, 2), strides=[3, 4]),
    "strides longer than the kernel": conv((2, 9, 8), (3, 2, 2, 1), strides=[4, 3]),
    "dilated": conv((3, 8, 8), (4, 3, 3, 3), (2, 2, 2, 2), dilations=[2, 2]),
    "dilated and strided": conv((3, 9, 8), (4, 3, 3, 2), (2, 0, 1, 3), dilations=[2, 3], strides=[2, 2]),
    "asymmetric pads": conv((3, 5, 6), (4, 3, 3, 3), (0, 1, 2, 0)),
    "pads longer than the kernel": conv((2, 4, 4), (3, 2, 2, 2), (3, 2, 2, 4)),
    "asymmetric strides and pads": conv((3, 7, 6), (4, 3, 3, 4), (1, 0, 2, 3), strides=[2, 1]),
    "SAME_UPPER": same((0, 1, 1, 2), "SAME_UPPER", (3, 6, 5), (4, 3, 3, 4), strides=[2, 1]),
    "SAME_LOWER": same((1, 2, 0, 1), "SAME_LOWER", (3, 6, 5), (4, 3, 3, 4), strides=[2, 1]),
    "VALID": same((0, 0, 0, 0), "VALID", (3, 6, 5), (4, 3, 3, 3), strides=[2, 1]),
}  # fmt: skip


def transposed(
    shape: tuple[int, ...],
    weight: tuple[int, ...],
    pads: Sequence[int] = (),
    extra: Sequence[int] = (),
    **attributes: Any,
) -> Problem:
    """torch has symmetric pads only: the twin computes without pads and cuts."""
    rank, groups = len(weight) - 2, attributes.get("group", 1)
    convolve = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[
        rank - 1
    ]
    before, after = (list(pads[:rank]), list(pads[rank:])) if pads else ([0] * rank, [0] * rank)
    more_of = list(extra) or [0] * rank

    def twin(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        y = convolve(x, w, None, attributes.get("strides", 1), 0, 0, groups, attributes.get("dilations", 1))
        y = functional.pad(y, [n for e in more_of[::-1] for n in (0, e)])
        index = [slice(first, n - last) for first, last, n in zip(before, after, y.shape[2:], strict=True)]
        y = y[(slice(None), slice(None), *index)]
        return y if b is None else y + b.reshape(-1, *[1] * rank)

    given: dict[str, Any] = {"pads": list(pads)} if pads else {}
    given |= {"output_padding": list(extra)} if extra else {}
    parameters = [normal(*weight), normal(weight[1] * groups, seed=9)]
    return one("ConvTranspose", shape, twin, *parameters, **given, **attributes)


def sized(
    pads: Sequence[int],
    output_shape: Sequence[int],
    auto_pad: str,
    *args: Any,
    extra: Sequence[int] = (),
    **more: Any,
) -> Problem:
    """A ConvTranspose that is told its output shape, and a twin that is given the pads."""
    problem = transposed(*args, pads=pads, extra=extra, **more)
    automatic = transposed(*args, output_shape=list(output_shape), auto_pad=auto_pad, **more)
    return Problem(problem.shape, automatic.build, problem.twin)


TRANSPOSED = {
    "1d": transposed((3, 6), (3, 4, 3), (1, 1), strides=[2]),
    "2d": transposed((3, 4, 5), (3, 4, 3, 3)),
    "3d": transposed((2, 3, 4, 3), (2, 3, 2, 3, 2), strides=[2, 1, 2]),
    "strided": transposed((3, 4, 5), (3, 4, 2, 2), strides=[2, 2]),
    "strides longer than the kernel": transposed((3, 4, 3), (3, 4, 2, 2), strides=[3, 4]),
    "output padding": transposed((3, 4, 5), (3, 4, 3, 3), (1, 1, 1, 1), (1, 1), strides=[2, 2]),
    "output padding past the last weight": transposed((3, 4, 4), (3, 4, 2, 2), (), (1, 2), strides=[2, 3]),
    "grouped": transposed((4, 4, 4), (4, 3, 3, 3), group=2, strides=[2, 2]),
    "depthwise": transposed((4, 4, 4), (4, 1, 4, 4), (1, 1, 1, 1), group=4, strides=[2, 2]),
    "dilated": transposed((3, 4, 4), (3, 2, 3, 3), (2, 1, 0, 2), dilations=[2, 1]),
    "asymmetric pads": transposed((3, 4, 4), (3, 2, 3, 3), (0, 1, 2, 1), strides=[2, 2]),
    "output shape": sized((1, 1, 0, 0), (8, 8), "NOTSET", (3, 4, 4), (3, 2, 3, 3), strides=[2, 2]),
    "output shape, larger half behind": sized(
        (0, 0, 1, 1), (8, 8), "SAME_UPPER", (3, 4, 4), (3, 2, 3, 3), strides=[2, 2]
    ),
    "output shape, larger half in front": sized(
        (1, 1, 0, 0), (8, 8), "SAME_LOWER", (3, 4, 4), (3, 2, 3, 3), strides=[2, 2]
    ),
}  # fmt: skip


def bn(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    gamma, beta, mean, var = parameters
    return functional.batch_norm(x, mean, var, gamma, beta, eps=1e-2)


STATISTICS = [normal(4), normal(4, seed=2), normal(4, seed=3), np.abs(normal(4, seed=5)) + 0.1]

NORMALISATIONS = {
    "BatchNormalization": one("BatchNormalization", (4, 3, 5), bn, *STATISTICS, epsilon=1e-2),
    "BatchNormalization of a vector": one("BatchNormalization", (4,), bn, *STATISTICS, epsilon=1e-2),
    "BatchNormalization 3d": one("BatchNormalization", (4, 2, 3, 2), bn, *STATISTICS, epsilon=1e-2, opset=13),
    "InstanceNormalization": one(
        "InstanceNormalization", (3, 4, 5), lambda x, g, b: functional.instance_norm(x, weight=g, bias=b, eps=1e-2),
        normal(3), normal(3, seed=2), epsilon=1e-2,
    ),
    "InstanceNormalization 1d": one(
        "InstanceNormalization", (3, 6), lambda x, g, b: functional.instance_norm(x, weight=g, bias=b),
        normal(3), normal(3, seed=2),
    ),
    "LayerNormalization": one(
        "LayerNormalization", (3, 8), lambda x, g, b: functional.layer_norm(x, [8], g, b), normal(8), normal(8, seed=2)
    ),
    "LayerNormalization over two axes": one(
        "LayerNormalization", (3, 4, 5), lambda x, g, b: functional.layer_norm(x, [4, 5], g, b, 1e-3),
        normal(4, 5), normal(4, 5, seed=2), axis=-2, epsilon=1e-3,
    ),
    "LayerNormalization without offset": one(
        "LayerNormalization", (3, 8), lambda x, g: functional.layer_norm(x, [8], g), normal(8), axis=2
    ),
    "GroupNormalization": one(
        "GroupNormalization", (6, 3, 4), lambda x, g, b: functional.group_norm(x, 3, g, b, 1e-3),
        normal(6), normal(6, seed=2), num_groups=3, epsilon=1e-3, opset=21,
    ),
    "LpNormalization": one("LpNormalization", (5, 3), lambda x: functional.normalize(x, dim=1), axis=1, p=2),
    "LRN": one(
        "LRN", (6, 3, 2), lambda x: functional.local_response_norm(x, 3, alpha=0.3, beta=0.6, k=1.5),
        size=3, alpha=0.3, beta=0.6, bias=1.5,
    ),
}  # fmt: skip


def gemm(turned: bool, **attributes: Any) -> Problem:
    """(2 * 3, 4) times (4, 5); the left side made from the tensor, turned or not."""
    alpha, beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    weight = normal(5, 4) if attributes.get("transB") else normal(4, 5)
    bias = normal(*attributes.pop("bias", (5,)), seed=8)

    def build(net: Any, x: str) -> str:
        flat = net.add("Reshape", [x, net.weight("flat", np.array([-1, 4]))], "flat_x")
        flat = net.add("Transpose", [flat], "turned", perm=[1, 0]) if turned else flat
        more = {"transA": 1} if turned else {}
        return net.add(
            "Gemm", [flat, net.weight("w", weight), net.weight("b", bias)], "y", **more, **attributes
        )

    def twin(x: torch.Tensor) -> torch.Tensor:
        w, b = (torch.from_numpy(v.astype(np.float64)) for v in (weight, bias))
        return alpha * x.reshape(-1, 4) @ (w.T if attributes.get("transB") else w) + beta * b

    return Problem((3, 4), build, twin)


def products(
    shape: tuple[int, ...], op: str, twin: Any, cut: int, turn: bool = False, **attributes: Any
) -> Problem:
    """An operator on two parts of the tensor: the first ``cut`` entries of axis 1, and the others."""

    def build(net: Any, x: str) -> str:
        lengths = net.weight("cut", np.array([cut, shape[0] - cut]))
        net.add_many("Split", [x, lengths], ["first", "second"], axis=1)
        right = net.add("Transpose", ["second"], "second_turned", perm=[0, 1, 3, 2]) if turn else "second"
        return net.add(op, ["first", right], "y", **attributes)

    def whole(x: torch.Tensor) -> torch.Tensor:
        first, second = x[:, :cut], x[:, cut:]
        return twin(first, second.transpose(2, 3) if turn else second)

    return Problem(shape, build, whole)


def dynamic_gemm(**attributes: Any) -> Problem:
    """Both sides and the bias are made from the tensor."""

    def build(net: Any, x: str) -> str:
        names = [
            net.add("Gather", [x, net.weight(f"i{i}", np.array(i))], f"part{i}", axis=1) for i in range(3)
        ]
        parts = [net.add("Reshape", [n, net.weight(f"s{n}", np.array([4, 4]))], f"m{n}") for n in names]
        return net.add("Gemm", parts, "y", **attributes)

    def twin(x: torch.Tensor) -> torch.Tensor:
        a, b, c = (x[:, i].reshape(4, 4) for i in range(3))
        a, b = (v.T if attributes.get(k) else v for v, k in ((a, "transA"), (b, "transB")))
        return attributes.get("alpha", 1.0) * a @ b + attributes.get("beta", 1.0) * c

    return Problem((3, 2, 4), build, twin)


MATRICES = {
    "Gemm": gemm(False),
    "Gemm, factors": gemm(False, alpha=0.5, beta=2.0),
    "Gemm transB": gemm(False, transB=1, alpha=0.5),
    "Gemm transA": gemm(True),
    "Gemm transA transB": gemm(True, transB=1, alpha=2.0),
    "Gemm, one bias": gemm(False, bias=(1,)),
    "Gemm of dynamic parts": dynamic_gemm(alpha=0.5, beta=2.0),
    "Gemm of dynamic parts, transA": dynamic_gemm(transA=1),
    "Gemm of dynamic parts, transB": dynamic_gemm(transB=1, alpha=3.0),
    "Gemm of dynamic parts, both": dynamic_gemm(transA=1, transB=1),
    "MatMul": one("MatMul", (3, 4), lambda x, w: x @ w, normal(4, 5)),
    "MatMul of more axes": one("MatMul", (2, 3, 4), lambda x, w: x @ w, normal(2, 4, 5)),
    "MatMul, weights broadcast the picture": one("MatMul", (1, 3, 4), lambda x, w: x @ w, normal(3, 4, 5)),
    "MatMul, more axes on the right": one("MatMul", (3, 4), lambda x, w: x @ w, normal(3, 1, 4, 5)),
    "MatMul with a vector on the right": one("MatMul", (3, 4), lambda x, w: x @ w, normal(4)),
    "attention": products((4, 3, 5), "MatMul", torch.matmul, 2, turn=True),
    "MatMul broadcasting one side": products((3, 4, 4), "MatMul", torch.matmul, 1),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    assert max(errors_of(CONVOLUTIONS[name]).values()) <= 1e-3


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name):
    assert max(errors_of(TRANSPOSED[name]).values()) <= 1e-3


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalisations(name):
    assert max(errors_of(NORMALISATIONS[name]).values()) <= 1e-3


@pytest.mark.parametrize("name", MATRICES)
def test_matrices(name):
    assert max(errors_of(MATRICES[name]).values()) <= 1e-3
