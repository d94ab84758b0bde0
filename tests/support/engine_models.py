"""The small model of ``bundle_models`` in every format, with the very same weights."""

import functools
import io
import warnings
from typing import Any

import numpy as np
import onnx
import openvino
import torch
from onnx import numpy_helper

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.convert import quantize_ir, save_ir
from edge_runtime.bundles.build.quantize_onnx import quantize_onnx
from edge_runtime.bundles.build.recipe_file import Quantization, WeightBits
from tests.support.bundle_models import SIDE, small_model


@functools.cache
def onnx_files() -> ModelFiles:
    return ModelFiles(small_model())


def ir_of(model: bytes, batch: int | None = None) -> ModelFiles:
    """The IR of an ONNX file; with ``batch`` its shapes are static."""
    network = openvino.Core().read_model(model)
    if batch is not None:
        network.reshape([batch, 3, SIDE, SIDE])
    return save_ir(network)


@functools.cache
def openvino_files() -> ModelFiles:
    return ir_of(small_model())


class SmallNet(torch.nn.Module):
    """conv -> batch norm -> relu -> mean -> 5 logits, with the weights of ``small_model``."""

    def __init__(self) -> None:
        super().__init__()
        weights = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in onnx.load_model_from_string(small_model()).graph.initializer
        }
        self.conv = torch.nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.conv.weight.data = weights["w"]
        self.norm.weight.data, self.norm.bias.data = weights["gamma"], weights["beta"]
        self.norm.running_mean, self.norm.running_var = weights["mean"], weights["var"]
        self.fc = torch.nn.Parameter(weights["fc"])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled = torch.relu(self.norm(self.conv(image))).mean([2, 3])
        return pooled @ self.fc


def torchscript_bytes(
    net: torch.nn.Module, *, is_training: bool = False, traced_with: int | None = None
) -> bytes:
    """Scripted, or traced with a batch of ``traced_with``."""
    net.train(is_training)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = (
            torch.jit.script(net)
            if traced_with is None
            else torch.jit.trace(net, torch.zeros(traced_with, 3, SIDE, SIDE))
        )
        torch.jit.save(module, buffer)
    return buffer.getvalue()


@functools.cache
def torchscript_files() -> ModelFiles:
    return ModelFiles(torchscript_bytes(SmallNet()))


@functools.cache
def int8_depthwise_files(weight_bits: WeightBits = 7) -> ModelFiles:
    """``depthwise_files``, int8 by ONNX Runtime's quantizer."""
    return ModelFiles(
        quantize_onnx(depthwise_files().data, pixels(20, seed=1), Quantization((), weight_bits))
    )


@functools.cache
def int8_depthwise_ir(weight_bits: WeightBits = 7) -> ModelFiles:
    """``depthwise_files``, int8 by NNCF."""
    return quantize_ir(ir_of(depthwise_files().data), pixels(20, seed=1), Quantization((), weight_bits))


@functools.cache
def depthwise_files() -> ModelFiles:
    """conv -> depthwise -> conv -> grouped -> mean -> 10 logits."""

    def block(inputs: int, outputs: int, stride: int, size: int = 3, groups: int = 1) -> torch.nn.Module:
        conv = torch.nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups)
        return torch.nn.Sequential(conv, torch.nn.ReLU())

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        block(3, 16, 2), block(16, 16, 1, groups=16), block(16, 32, 2, size=1), block(32, 32, 2, groups=4),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(32, 10),
    )  # fmt: skip
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(), (torch.zeros(1, 3, SIDE, SIDE),), buffer, input_names=["image"], dynamo=False,
            output_names=["logits"], dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
        )  # fmt: skip
    return ModelFiles(buffer.getvalue())


FILES = {"onnx": onnx_files, "openvino": openvino_files, "torchscript": torchscript_files}


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 3, SIDE, SIDE)).astype(np.float32)
