"""The net of ``signal_bundles`` with a second input: ``vibration`` (N, 3, 256) and ``context`` (N, 2) in one answer."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calibration.targets.base import ModelFiles
from edge_runtime.inference.engines.parts import WHOLE
from edge_runtime.inference.specs import SignalSpec
from tests.support.engine_models import ir_of
from tests.support.http_bench import make_signal_parts
from tests.support.recipe_author import RecipeFolder
from tests.support.signal_author import SignalNet
from tests.support.signal_bundles import CHANNELS, LABELS, machine_windows, signal_model, signal_spec
from tests.support.torch_nets import scripted

CONTEXT_WEIGHT = np.array([[3, 0], [0, 3], [-3, 0], [0, -3]], np.float32)
INPUTS: list[dict[str, Any]] = [
    {"name": "vibration", "channels": list(CHANNELS)},
    {"name": "context", "channels": ["load", "temp"], "layout": "nf"},
]
ALL_CHANNELS = ("temp", *CHANNELS, "load")
FACTORY = """
from tests.support.two_inputs import TwoInputNet

def make():
    return TwoInputNet()
"""


def two_input_spec(**changes: Any) -> SignalSpec:
    """Windows (5, 256): temp, three axes, load; the inputs take them in another order."""
    axes = [one.model_dump() for one in signal_spec().channels]
    temp = {"name": "temp", "unit": "degC", "mean": 40.0, "std": 10.0}
    load = {"name": "load", "mean": 0.5, "std": 0.2}
    return signal_spec(**{"channels": [temp, *axes, load], "inputs": INPUTS, **changes})


def make_two_input_parts() -> dict[str, Any]:
    """Arguments of ``http_bench.Bench``: the scores are the means of the channels of the whole window."""
    parts = make_signal_parts(**two_input_spec().model_dump(include={"channels", "inputs"}))
    parts["engine"].input = replace(parts["engine"].input, name=WHOLE)
    return parts


def two_input_windows(n: int, seed: int = 0) -> list[NDArray[np.float64]]:
    """Windows (samples, channels) as the sensor sends them; temp rises within each, load is its own."""
    rng = np.random.default_rng(seed + 1000)
    found = []
    for window in machine_windows(n, seed):
        rise = np.linspace(0, 8, len(window)) + rng.uniform(25, 50)
        load = np.full(len(window), rng.uniform(0.2, 0.8)) + rng.normal(0, 0.02, len(window))
        found.append(np.column_stack([rise, window, load]))
    return found


@functools.cache
def two_input_model(layout: str = "nct", batch: int | str = "N") -> bytes:
    """The logits of ``signal_model`` plus ``context`` times ``CONTEXT_WEIGHT``, in ONNX."""
    model = onnx.load_model_from_string(signal_model(layout=layout, batch=batch))
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["vibration" if name == "input" else name for name in node.input]
        node.output[:] = ["of_vibration" if name == "logits" else name for name in node.output]
    graph.input[0].name = "vibration"
    graph.input.append(helper.make_tensor_value_info("context", TensorProto.FLOAT, (batch, 2)))
    graph.initializer.append(numpy_helper.from_array(CONTEXT_WEIGHT, "context_w"))
    graph.node.append(helper.make_node("Gemm", ["context", "context_w"], ["of_context"], transB=1))
    graph.node.append(helper.make_node("Add", ["of_vibration", "of_context"], ["logits"]))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class TwoInputNet(torch.nn.Module):
    """The same in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SignalNet().layers
        self.weight = torch.nn.Parameter(torch.from_numpy(CONTEXT_WEIGHT.copy()))

    def forward(self, vibration: torch.Tensor, context: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.net(vibration) + context @ self.weight.t()}


@functools.cache
def two_input_files(model_format: str) -> ModelFiles:
    """The net in a format."""
    match model_format:
        case "openvino":
            return ir_of(two_input_model())
        case "torchscript":
            return ModelFiles(scripted(TwoInputNet().eval()))
    return ModelFiles(two_input_model())


class TwoInputAuthor(RecipeFolder):
    """Of the net with two inputs."""

    def __init__(self, folder: Path) -> None:
        keys = {
            "name": "machine", "golden": "golden", "labels": list(LABELS),
            "preprocess": two_input_spec().model_dump(mode="json", exclude_defaults=True),
            "postprocess": {"task": "classification", "scores": "logits", "top_k": 2},
        }  # fmt: skip
        super().__init__(folder, keys)
        self.windows("golden", 4, seed=5)

    def windows(self, name: str, count: int, seed: int) -> Path:
        """A folder of array files."""
        folder = self.folder / name
        folder.mkdir()
        for i, window in enumerate(two_input_windows(count, seed)):
            np.save(folder / f"{i:03d}.npy", window)
        return folder

    def model(self, kind: str) -> None:
        """Put the net there in some form, and name it in the recipe."""
        if kind == "checkpoint":
            torch.save({"state_dict": TwoInputNet().state_dict()}, self.folder / "net.pth")
            (self.folder / "two_input_factory.py").write_text(FACTORY)
            self.keys |= {"model": "net.pth", "factory": "two_input_factory:make"}
            return
        self.put(two_input_files(kind), {"onnx": "onnx", "openvino": "xml", "torchscript": "pt"}[kind])
