"""The derivatives of arithmetic and activations, compared with torch."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.support.gradients import Problem, Twin, errors_of, normal, one
from tests.support.onnx_nets import Net

pytestmark = pytest.mark.integration

POSITIVE = np.abs(normal(4, 5)) + 0.3


def two(op: str, twin: Twin, first: tuple[int, ...], second: tuple[int, ...], spread: float = 1.0) -> Problem:
    """An operator on two tensors without their batch, which broadcast; both come from the picture."""
    sizes = [int(np.prod(part)) for part in (first, second)]

    def build(net: Net, x: str) -> str:
        lengths = net.weight("lengths", np.array(sizes))
        net.add_many("Split", [x, lengths], ["flat_a", "flat_b"], axis=1)
        names = [
            net.add("Reshape", [flat, net.weight(f"{flat}_size", np.array([-1, *size]))], f"{flat}_sized")
            for flat, size in (("flat_a", first), ("flat_b", second))
        ]
        return net.add(op, names, "y")

    def whole(x: torch.Tensor) -> torch.Tensor:
        a, b = x[:, : sizes[0]].reshape(-1, *first), x[:, sizes[0] :].reshape(-1, *second)
        return twin(a, b)

    return Problem((sum(sizes),), build, whole, spread=spread)


def swapped(op: str, shape: tuple[int, ...], twin: Twin, left: Any) -> Problem:
    """The tensor is the second input, a constant the first."""
    constant = torch.from_numpy(np.asarray(left, np.float64))
    return Problem(
        shape, lambda net, x: net.add(op, [net.weight("left", left), x], "y"), lambda x: twin(constant, x)
    )


def squared(op: str, twin: Twin) -> Problem:
    """Both inputs are the same tensor."""
    return Problem((3, 4), lambda net, x: net.add(op, [x, x], "y"), lambda x: twin(x, x))


def where(condition: Any) -> Problem:
    """Of the tensor, its double and a constant condition."""

    def build(net: Net, x: str) -> str:
        double = net.add("Add", [x, x], "double")
        return net.add("Where", [net.weight("condition", condition), x, double], "y")

    return Problem((3, 4), build, lambda x: torch.where(torch.from_numpy(condition), x, 2 * x))


def where_above() -> Problem:
    """The condition comes from the picture too: a step, of derivative 0."""

    def build(net: Net, x: str) -> str:
        is_above = net.add("Greater", [x, net.weight("limit", np.float32(0.2))], "is_above")
        low = net.add("Mul", [x, net.weight("small", np.float32(0.1))], "low")
        return net.add("Where", [is_above, x, low], "y")

    return Problem((3, 4), build, lambda x: torch.where(x > 0.2, x, 0.1 * x))


def positive_power(x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
    return x.abs().clamp(min=0.1) ** e


def root() -> Problem:
    """Of squares: without them it has no value."""

    def build(net: Net, x: str) -> str:
        return net.add("Pow", [net.add("Abs", [x], "positive"), net.weight("half", np.float32(0.5))], "y")

    return Problem((3, 4), build, lambda x: x.abs() ** 0.5)


def after_abs(op: str, twin: Twin) -> Problem:
    """For what takes positive values only."""

    def build(net: Net, x: str) -> str:
        more = net.add(
            "Add", [net.add("Abs", [x], "positive"), net.weight("little", np.float32(0.2))], "more"
        )
        return net.add(op, [more], "y")

    return Problem((3, 4), build, lambda x: twin(x.abs() + 0.2))


def largest_of_two_and_a_number() -> Problem:
    """Where the number is the largest, none of the two takes a part."""

    def build(net: Net, x: str) -> str:
        half = net.add("Mul", [x, net.weight("half", np.float32(-0.5))], "less")
        return net.add("Max", [x, half, net.weight("limit", np.float32(0.4))], "y")

    return Problem((3, 4), build, lambda x: torch.maximum(x, -0.5 * x).clamp(min=0.4))


ARITHMETIC = {
    "Max of two and a number": largest_of_two_and_a_number(),
    "Add": one("Add", (3, 4), torch.add, normal(3, 4)),
    "Add, both": two("Add", torch.add, (3, 4), (1, 4)),
    "Add, fewer axes": one("Add", (4,), torch.add, normal(3, 1, 4)),
    "Add, twice the same": squared("Add", torch.add),
    "Sub": swapped("Sub", (3, 4), torch.sub, normal(4)),
    "Sub, both": two("Sub", torch.sub, (3, 1), (3, 4)),
    "Sub, twice the same plus": two("Sub", torch.sub, (2, 3, 1), (1, 1, 4)),
    "Mul": one("Mul", (3, 4), torch.mul, normal(3, 1)),
    "Mul, both": two("Mul", torch.mul, (5, 1, 1), (5, 3, 4)),
    "Mul, twice the same": squared("Mul", torch.mul),
    "Div": one("Div", (4, 5), torch.div, POSITIVE),
    "Div, below": swapped("Div", (3, 4), lambda c, x: c / x, normal(3, 4)),
    "Div, both": two("Div", torch.div, (3, 1), (3, 4)),
    "Pow 2": one("Pow", (3, 4), lambda x, e: x**e, np.float32(2)),
    "Pow 3, by channel": one("Pow", (3, 4), lambda x, e: x**e, np.array([[3.0], [2.0], [1.0]], np.float32)),
    "Pow 0": one("Pow", (3, 4), lambda x, e: x**e, np.array([[0.0], [2.0], [1.0]], np.float32)),
    "Pow 1/2": root(),
    "Pow of whole numbers": one("Pow", (3, 4), lambda x: x**2, np.int64(2)),
    "Max": one("Max", (3, 4), torch.maximum, normal(4)),
    "Max, both": two("Max", torch.maximum, (3, 1), (3, 4)),
    "Max of three": one(
        "Max", (3, 4), lambda x, a, b: torch.maximum(torch.maximum(x, a), b), normal(3, 4), normal(1, seed=3)
    ),
    "Max, twice the same": squared("Max", torch.maximum),
    "Min": one("Min", (3, 4), torch.minimum, normal(4)),
    "Min, both": two("Min", torch.minimum, (3, 4), (1, 4)),
    "Min, twice the same": squared("Min", torch.minimum),
    "Sum of three": one("Sum", (3, 4), lambda x, a, b: x + a + b, normal(4), normal(3, 1)),
    "Mean of three": one("Mean", (3, 4), lambda x, a, b: (x + a + b) / 3, normal(4), normal(3, 1)),
    "Where": where(np.arange(12).reshape(3, 4) % 3 > 0),
    "Where, broadcast": where(np.array([True, False, False, True])),
    "Where, a condition from the picture": where_above(),
    "Neg": one("Neg", (3, 4), torch.neg),
    "Abs": one("Abs", (3, 4), torch.abs),
    "Exp": one("Exp", (3, 4), torch.exp),
    "Log": after_abs("Log", torch.log),
    "Sqrt": after_abs("Sqrt", torch.sqrt),
    "Reciprocal": after_abs("Reciprocal", torch.reciprocal),
}  # fmt: skip


def silu(net: Net, x: str) -> str:
    return net.add("Mul", [x, net.add("Sigmoid", [x], "gate")], "y")


ACTIVATIONS = {
    "Relu": one("Relu", (3, 4), functional.relu),
    "Clip": one("Clip", (3, 4), lambda x, a, b: x.clamp(a, b), np.float32(-0.4), np.float32(0.7)),
    "Clip from below": one("Clip", (3, 4), lambda x, a: x.clamp(min=a), np.float32(-0.4)),
    "Clip from above": one("Clip", (3, 4), lambda x, a: x.clamp(max=a), None, np.float32(0.4)),
    "Clip without limits": one("Clip", (3, 4), lambda x: x),
    "LeakyRelu": one("LeakyRelu", (3, 4), lambda x: functional.leaky_relu(x, 0.2), alpha=0.2),
    "LeakyRelu, usual slope": one("LeakyRelu", (3, 4), lambda x: functional.leaky_relu(x, 0.01)),
    "LeakyRelu, negative slope": one("LeakyRelu", (3, 4), lambda x: functional.leaky_relu(x, -0.5), alpha=-0.5),
    "PRelu": one("PRelu", (3, 4, 2), lambda x, w: torch.where(x < 0, x * w, x), normal(3, 1, 1)),
    "PRelu, one slope": one("PRelu", (3, 4), lambda x, w: torch.where(x < 0, x * w, x), normal(1)),
    "PRelu, a slope each": one("PRelu", (3, 4), lambda x, w: torch.where(x < 0, x * w, x), normal(3, 4)),
    "Elu": one("Elu", (3, 4), lambda x: functional.elu(x, 0.7), alpha=0.7),
    "Selu": one("Selu", (3, 4), functional.selu),
    "Celu": one("Celu", (3, 4), lambda x: functional.celu(x, 0.7), alpha=0.7),
    "ThresholdedRelu": one("ThresholdedRelu", (3, 4), lambda x: functional.threshold(x, 0.3, 0.0), alpha=0.3),
    "Sigmoid": one("Sigmoid", (3, 4), torch.sigmoid),
    "Tanh": one("Tanh", (3, 4), torch.tanh),
    "Softsign": one("Softsign", (3, 4), functional.softsign),
    "HardSigmoid": one("HardSigmoid", (3, 4), lambda x: (x / 6 + 0.5).clamp(0, 1), alpha=1 / 6, beta=0.5, spread=4.0),
    "HardSigmoid, usual": one("HardSigmoid", (3, 4), lambda x: (0.2 * x + 0.5).clamp(0, 1), spread=4.0),
    "HardSwish": one("HardSwish", (3, 4), functional.hardswish, spread=4.0),
    "SiLU": Problem((3, 4), silu, functional.silu),
    "Swish": one("Swish", (3, 4), functional.silu, opset=24),
    "Swish, steeper": one("Swish", (3, 4), lambda x: x * torch.sigmoid(1.7 * x), opset=24, alpha=1.7),
    "Softplus": one("Softplus", (3, 4), functional.softplus, spread=3.0),
    "Mish": one("Mish", (3, 4), functional.mish, opset=18, spread=2.0),
    "Erf": one("Erf", (3, 4), torch.erf),
    "Gelu": one("Gelu", (3, 4), functional.gelu, opset=20),
    "Gelu by tanh": one("Gelu", (3, 4), lambda x: functional.gelu(x, approximate="tanh"), opset=20, approximate="tanh"),
    "Softmax": one("Softmax", (3, 4), lambda x: torch.softmax(x, -1)),
    "Softmax on axis 1": one("Softmax", (3, 4), lambda x: torch.softmax(x, 1), axis=1),
    "LogSoftmax": one("LogSoftmax", (3, 4), lambda x: torch.log_softmax(x, -1), opset=13),
    "LogSoftmax on axis 1": one("LogSoftmax", (3, 4), lambda x: torch.log_softmax(x, 1), axis=-2),
}  # fmt: skip


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name):
    assert max(errors_of(ARITHMETIC[name]).values()) <= 1e-3


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    assert max(errors_of(ACTIVATIONS[name]).values()) <= 1e-3
