"""Fixed arithmetic behind the last learned layers: it hides no head, in any format."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.targets.base import ModelFiles
from calibration.targets.open import open_target
from calibration.targets.tap_choice import DECODING, HEAD, is_decoding
from calibration.targets.target import Target
from tests.support.onnx_nets import Net, quantized
from tests.support.openvino_nets import ir_of
from tests.support.torch_nets import quiet, scripted, traced

pytestmark = pytest.mark.integration

RNG = np.random.default_rng(0)
BOX = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])


def column(*values: float) -> NDArray[np.float64]:
    return np.asarray(values, np.float64).reshape(1, -1, 1, 1)


def rounded(values: NDArray[np.float64], levels: int = 127) -> NDArray[np.float64]:
    step = np.abs(values).max() / levels
    return np.rint(values / step) * step


FIXED: dict[str, NDArray[np.floating]] = {
    "distances": column(*range(16)),
    "few distances": column(*range(4)),
    "many distances": column(*range(33)),
    "distances in float16": column(*range(16)).astype(np.float16),
    "distances in int8": rounded(column(*range(16))),
    "from one on": column(*range(1, 18)),
    "between 0 and 1": column(*np.linspace(0, 1, 17)),
    "around 0": column(*range(-8, 8)),
    "in pixels": column(*np.arange(16) * 32.0),
    "as a matrix": np.arange(17.0)[None],
    "in one dimension": np.arange(16.0).reshape(1, -1, 1),
    "centre to corners": BOX,
    "corners to centre": np.array([[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [-1, 0, 1, 0], [0, -1, 0, 1.0]]),
}
LEARNED: dict[str, NDArray[np.floating]] = {
    "one class": RNG.normal(0, 0.1, (1, 32, 1, 1)),
    "one output of few": RNG.normal(0, 1, (1, 4, 1, 1)),
    "one output of three": column(0, 1, 2),
    "a mean": column(*[1 / 16] * 16),
    "nearly a mean": column(*np.linspace(0.9, 1.1, 16)),
    "nothing": column(*[0.0] * 16),
    "two outputs": np.repeat(column(*range(16)), 2, axis=0),
    "a window": np.arange(144.0).reshape(1, 16, 3, 3),
    "four channels": RNG.normal(0, 1, (4, 4, 1, 1)),
    "four numbers": RNG.normal(0, 1, (4, 4)),
    "a pointwise identity": np.eye(4).reshape(4, 4, 1, 1),
    "sorted": np.sort(RNG.normal(0, 1, (1, 16, 1, 1))),
    "one channel": np.ones((8, 1, 3, 3)),
}


@pytest.mark.parametrize("name", FIXED)
def test_fixed_weights_are_known(name: str) -> None:
    assert is_decoding(FIXED[name])


@pytest.mark.parametrize("name", LEARNED)
def test_learned_weights_are_none(name: str) -> None:
    assert not is_decoding(LEARNED[name])


class Head(nn.Module):
    """As YOLO v8: boxes as distributions and class scores go through one Concat and Split, then the decoding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bins = 4
        self.stem, self.neck = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.boxes, self.classes = nn.Conv2d(6, 4 * self.bins, 1), nn.Conv2d(6, 2, 1)
        self.distances = nn.Conv2d(self.bins, 1, 1, bias=False)
        self.distances.weight.data[:] = torch.arange(self.bins).view(1, -1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.neck(torch.relu(self.stem(x))))
        both = torch.cat([self.boxes(x), self.classes(x)], 1).flatten(2)
        spread, scores = both.split((4 * self.bins, 2), 1)
        spread = spread.view(-1, 4, self.bins, 256).transpose(2, 1).softmax(1)
        return torch.cat([self.distances(spread).view(-1, 4, 256), scores.sigmoid()], 1)


class ByProduct(Head):
    """As NanoDet: the mean is a product with a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("line", torch.linspace(0, self.bins - 1, self.bins))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.neck(torch.relu(self.stem(x))))
        spread = self.boxes(x).flatten(2).view(-1, 4, self.bins, 256).softmax(2).transpose(2, 3)
        return torch.cat([torch.matmul(spread, self.line), self.classes(x).flatten(2).sigmoid()], 1)


class ToCorners(Head):
    """As a YOLO v7 with its suppression inside: centre and size become corners by a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("corners", torch.tensor(BOX.T, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.neck(torch.relu(self.stem(x))))
        boxes = self.boxes(x)[:, :4].flatten(2).transpose(1, 2)
        return torch.cat([torch.matmul(boxes, self.corners), self.classes(x).flatten(2).transpose(1, 2)], 2)


def exported(net: nn.Module, folder: object) -> bytes:
    path = f"{folder}/head.onnx"
    with quiet():
        torch.onnx.export(
            net.eval(), (torch.zeros(2, 3, 16, 16),), path, opset_version=17, input_names=["input"],
            output_names=["found"], dynamic_axes={"input": {0: "N"}, "found": {0: "N"}}, dynamo=False,
        )  # fmt: skip
    return bytes(onnx.load(path).SerializeToString())


FORMS: dict[str, Callable[[nn.Module, object], Target]] = {
    "onnx": lambda net, folder: open_target(exported(net, folder)),
    "openvino": lambda net, folder: open_target(ModelFiles(*ir_of(exported(net, folder)))),
    "traced": lambda net, _: open_target(traced(net.eval())),
    "scripted": lambda net, _: open_target(scripted(net.eval())),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("net", [Head, ByProduct, ToCorners], ids=lambda net: net.__name__)
def test_what_only_decodes_leaves_the_layers_in_front_heads(
    net: type[Head], form: str, tmp_path: object
) -> None:
    target = FORMS[form](net(), tmp_path)
    assert [tap.channels for tap in target.taps] == [6, 6]
    assert sorted(layer.reason for layer in target.skipped) == sorted([HEAD, HEAD, DECODING])


def test_the_same_in_int8(tmp_path: object) -> None:
    x = RNG.normal(0, 1, (16, 3, 16, 16)).astype(np.float32)
    target = open_target(quantized(exported(Head(), tmp_path), tmp_path, x))  # type: ignore[arg-type]
    assert [tap.channels for tap in target.taps] == [6, 6]
    assert DECODING in {layer.reason for layer in target.skipped}


def test_the_same_in_int8_with_a_zero_point_of_an_empty_name(tmp_path: object) -> None:
    x = RNG.normal(0, 1, (16, 3, 16, 16)).astype(np.float32)
    model = onnx.load_from_string(quantized(exported(Head(), tmp_path), tmp_path, x))  # type: ignore[arg-type]
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            node.input[2] = ""  # all of them are 0, as where there is none
    target = open_target(model.SerializeToString())
    assert DECODING in {layer.reason for layer in target.skipped}


def test_an_onnx_layer_of_one_output_that_was_learned_stays_a_layer() -> None:
    net = Net(3)
    x = net.add("Relu", [net.conv("input", "c1", 3, 8)], "r1")
    x = net.add("Relu", [net.conv(x, "c2", 8, 1)], "r2")
    net.add("GlobalAveragePool", [net.conv(x, "c3", 1, 5)], "answer")
    target = open_target(net.model("answer", out=("N", 5, 1, 1)))
    assert [tap.name for tap in target.taps] == ["c1", "c2"]
