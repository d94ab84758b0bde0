"""Recipes for nets of signals as their author writes them: a net in every format, and folders of windows."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from calibration.targets.base import ModelFiles
from tests.support.engine_models import ir_of
from tests.support.recipe_author import RecipeFolder
from tests.support.signal_bundles import LABELS, machine_windows, signal_model, signal_spec
from tests.support.torch_nets import quiet, saved

_HEADER = "ax,ay,az"
FACTORY = """
from tests.support.signal_author import SignalNet

def make():
    return SignalNet()
"""


class SignalNet(nn.Module):
    """The net of ``signal_bundles`` with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(3, 16, 15, stride=2, padding=7, bias=False), nn.BatchNorm1d(16), nn.ReLU(),
            nn.Conv1d(16, 24, 15, stride=2, padding=7, bias=False), nn.BatchNorm1d(24), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(24, len(LABELS)),
        )  # fmt: skip
        weights = {
            tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for tensor in onnx.load_model_from_string(signal_model()).graph.initializer
        }
        names = {"conv0_w": "0.weight", "conv1_w": "3.weight", "fc_w": "8.weight", "fc_b": "8.bias"}
        for i, at in enumerate((1, 4)):
            names |= {f"bn{i}_scale": f"{at}.weight", f"bn{i}_bias": f"{at}.bias"}
            names |= {f"bn{i}_mean": f"{at}.running_mean", f"bn{i}_var": f"{at}.running_var"}
        self.layers.load_state_dict({names[name]: value for name, value in weights.items()}, strict=False)
        self.eval()

    def forward(self, window: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.layers(window)}


class SignalAuthor(RecipeFolder):
    """Of the net on windows."""

    def __init__(self, folder: Path) -> None:
        spec = signal_spec().model_dump(mode="json", exclude_defaults=True)
        keys = {
            "name": "machine", "preprocess": spec, "golden": "golden", "labels": list(LABELS),
            "postprocess": {"task": "classification", "scores": "logits", "top_k": 2},
        }  # fmt: skip
        super().__init__(folder, keys)
        self.windows("golden", 4, seed=5)

    def windows(
        self,
        name: str,
        count: int,
        seed: int,
        suffix: Literal[".npy", ".csv"] = ".npy",
        by_label: bool = False,
    ) -> Path:
        """A folder of windows of each class in turn, with sub-folders for the labels where they are wanted."""
        folder = self.folder / name
        for i, window in enumerate(machine_windows(count, seed)):
            place = folder / LABELS[i % len(LABELS)] if by_label else folder
            place.mkdir(parents=True, exist_ok=True)
            if suffix == ".npy":
                np.save(place / f"{i:03d}.npy", window)
            else:
                np.savetxt(place / f"{i:03d}.csv", window, delimiter=",", header=_HEADER, comments="")
        return folder

    def model(self, kind: Literal["onnx", "openvino", "torchscript", "checkpoint"]) -> None:
        """Put the small net there in some form, and name it in the recipe."""
        match kind:
            case "onnx":
                self.put(ModelFiles(signal_model()), "onnx")
            case "openvino":
                self.put(ir_of(signal_model()), "xml")
            case "torchscript":
                self.put(ModelFiles(_torchscript(SignalNet())), "pt")
            case "checkpoint":
                data = {"state_dict": SignalNet().state_dict(), "preprocessing": self.keys.pop("preprocess")}
                torch.save(data, self.folder / "net.pth")
                (self.folder / "signal_net_factory.py").write_text(FACTORY)
                self.keys |= {"model": "net.pth", "factory": "signal_net_factory:make"}


def _torchscript(net: nn.Module) -> bytes:
    with quiet(), torch.inference_mode():
        return saved(torch.jit.trace(net, torch.zeros(2, 3, 256), strict=False))
