"""The small model of ``bundle_models`` in every format, with the very same weights."""

import functools
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import torch
from bundle_models import SIDE, small_model
from onnx import numpy_helper

from calibration.targets.base import ModelFiles


@functools.cache
def onnx_files() -> ModelFiles:
    return ModelFiles(small_model())


def ir_of(model: bytes, batch: int | None = None) -> ModelFiles:
    """The IR of an ONNX file; with ``batch`` its shapes are static."""
    network = openvino.Core().read_model(model)
    if batch is not None:
        network.reshape([batch, 3, SIDE, SIDE])
    return saved_ir(network)


def saved_ir(network: Any) -> ModelFiles:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(network, path, compress_to_fp16=False)
        return ModelFiles(path.read_bytes(), path.with_suffix(".bin").read_bytes())


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


FILES = {"onnx": onnx_files, "openvino": openvino_files, "torchscript": torchscript_files}


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, 3, SIDE, SIDE)).astype(np.float32)
