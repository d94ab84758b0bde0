"""Models whose tensors have the names that others would give: the same derivatives, whatever the names are."""

import numpy as np
import onnx
import pytest

from calibration.patch import Affine
from calibration.targets.base import Aim, Gradients
from calibration.targets.open import open_onnx
from tests.support.gradients import file_of
from tests.support.onnx_nets import Floats, Net, pictures
from tests.support.openvino_nets import ir_of, opened

pytestmark = pytest.mark.integration

X = pictures(2, size=8)

RIVALS = (
    "/scale", "/offset", "/weight", "/target", "/loss", "/sum", "/along", "__raw", "__size", "__scaled", "__low",
    "__mean", "__square", "__bias", "__scale", "__corrected", "__over_channels", "/mean", "/var", "/corrected",
)  # fmt: skip
"""Endings of names that a graph's builder may add to that of a tensor."""

RENAMED = "abcdefghijkl"
"""Tensors of the net; no tap and no output."""


def net() -> bytes:
    """conv1 - relu - conv2 - times a number - BatchNormalization - relu - mean - logits."""
    net = Net(4)
    x = net.add("Relu", [net.conv("input", "conv1", 3, 4)], "a")
    x = net.add("Mul", [net.conv(x, "conv2", 4, 5), net.weight("b", np.float32(1.3))], "c")
    numbers = [net.weight(n, net.rng.uniform(1, 2, 5).astype(np.float32)) for n in ("d", "e", "f", "g")]
    x = net.add("Relu", [net.add("BatchNormalization", [x, *numbers], "bn")], "h")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "i")], "j")
    net.add("Gemm", [x, net.normal("k", 5, 3), net.normal("l", 3)], "logits")
    return file_of(net, ["logits"], ("N", 3, 8, 8))


def renamed(model: bytes, names: dict[str, str]) -> bytes:
    proto = onnx.load_model_from_string(model)
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        node.name = node.output[0]
    for tensor in proto.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    return bytes(proto.SerializeToString())


def numbered(word: str) -> dict[str, str]:
    return {name: f"{word}{i}" for i, name in enumerate(RENAMED)}


def all_of_a_step(gradients: Gradients) -> Floats:
    """Losses and slopes of every tap, for the same corrections whatever the names are."""
    rng = np.random.default_rng(3)
    shown = gradients.run(X)
    affines = {
        tap: Affine(rng.uniform(0.8, 1.2, n).astype(np.float32), rng.normal(0, 0.1, n).astype(np.float32))
        for tap, n in zip(gradients.taps, (3, 4, 5), strict=False)
    }
    affines |= {tap: Affine(np.ones(5, np.float32), np.zeros(5, np.float32)) for tap in gradients.taps[3:]}
    targets = {aim.name: np.zeros_like(shown[aim.name]) for aim in gradients.aims}
    weights = dict.fromkeys(targets, np.asarray(0.1, np.float32))
    losses, slopes = gradients.step(X, affines, targets, weights)
    parts = [part for slope in slopes.values() for part in (slope.scale, slope.offset)]
    return np.concatenate([list(losses.values()), *parts, *(y.ravel() for y in shown.values())])


def differentiate(model: bytes) -> Gradients:
    target = open_onnx(model)
    return target.differentiate([*(Aim(tap.name) for tap in target.taps), Aim("logits", "softmax")], X)


@pytest.mark.parametrize("first", [0, 8])
@pytest.mark.parametrize("tensor", ["input", "conv1", "conv2", "bn", "logits"])
def test_names_made_from_those_of_tensors_change_nothing(tensor, first):
    model = net()
    names = dict(zip(RENAMED, (tensor + ending for ending in RIVALS[first:]), strict=False))
    np.testing.assert_array_equal(
        all_of_a_step(differentiate(renamed(model, names))), all_of_a_step(differentiate(model))
    )


@pytest.mark.parametrize(
    "word", ["gradient__", "gradient/", "gradient'/", "clip/low/", "size/of/", "alone__"]
)
def test_numbered_names_change_nothing(word):
    model = net()
    np.testing.assert_array_equal(
        all_of_a_step(differentiate(renamed(model, numbered(word)))), all_of_a_step(differentiate(model))
    )


@pytest.mark.parametrize("word", ["forward__", "forward/", "gradient__", "conv1/scal", "MatMul_"])
def test_names_in_an_ir_change_nothing(word):
    def differentiate(model: bytes) -> Gradients:
        target = opened(ir_of(model))
        return target.differentiate([*(Aim(tap.name) for tap in target.taps), Aim("logits", "softmax")], X)

    model = net()
    found = all_of_a_step(differentiate(renamed(model, numbered(word))))
    np.testing.assert_array_equal(found, all_of_a_step(differentiate(model)))
