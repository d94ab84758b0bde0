"""A small net that gives windows of the shaking machines again, and cannot give others: fitted, not trained."""

from functools import cache

import numpy as np
import torch
from torch import nn

from calibration.targets.base import ModelFiles
from calibration.targets.open import Model
from edge_runtime.inference.specs import AnomalySpec
from tests.support.onnx_nets import Floats
from tests.support.recipe_author import RecipeFolder
from tests.support.signal_author import SignalAuthor
from tests.support.signal_bundles import machine_windows, signal_spec
from tests.support.signal_jobs import samples_of
from tests.support.signal_nets import FORMS, ChannelsLast, time_first

PIECE, CODE = 16, 24
SPEC = AnomalySpec(task="anomaly", score="reconstruction")
FORM_NAMES = {"onnx": "ONNX", "openvino": "OpenVINO", "torchscript": "TorchScript"}


class Autoencoder(nn.Module):
    """Pieces of 16 samples become 24 numbers, their principal components, and pieces again."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Conv1d(3, CODE, PIECE, stride=PIECE)
        self.norm = nn.BatchNorm1d(CODE, eps=0.0)
        self.again = nn.ConvTranspose1d(CODE, 3, PIECE, stride=PIECE)
        x = prepared(machine_windows(96, seed=77))
        pieces = x.reshape(*x.shape[:2], -1, PIECE).transpose(0, 2, 1, 3).reshape(-1, 3 * PIECE)
        mean = pieces.mean(axis=0)
        parts = np.linalg.svd(pieces - mean, full_matrices=False)[2][:CODE]
        weight = torch.from_numpy(parts.reshape(CODE, 3, PIECE).astype(np.float32))
        with torch.no_grad():
            self.code.weight.copy_(weight)
            self.code.bias.copy_(torch.from_numpy(-parts @ mean))
            self.again.weight.copy_(weight)
            self.again.bias.zero_()
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.norm(self.code(x)))


@cache
def autoencoder(form: str, *, channels_last: bool = False) -> Model:
    """The net in a form of ``FORMS``, for windows (N, 3, 256), or (N, 256, 3)."""
    x = prepared(machine_windows(2))
    if not channels_last:
        return FORMS[form](Autoencoder(), x)
    both = nn.Sequential(ChannelsLast(Autoencoder()), _TimeFirst()).eval()
    return FORMS[form](both, time_first(x))


class _TimeFirst(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


def prepared(windows: list[np.ndarray]) -> Floats:
    """(N, 3, 256) as the model takes them."""
    return np.stack([sample.tensor for sample in samples_of(windows)])


def knocked(windows: list[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """The same machines with a part that knocks once in each window."""
    rng, found = np.random.default_rng(seed), []
    for window in windows:
        start = rng.integers(0, len(window) - 40)
        knock = np.zeros_like(window)
        knock[start : start + 40] = rng.normal(0, 0.3, (40, 3))
        found.append(window + knock)
    return found


class AutoencoderAuthor(RecipeFolder):
    """A bundle of it in some format."""

    def __init__(self, folder, kind: str, layout: str = "nct") -> None:
        spec = signal_spec(layout=layout).model_dump(mode="json", exclude_defaults=True)
        keys = {
            "name": "machine", "preprocess": spec, "golden": "golden",
            "postprocess": SPEC.model_dump(mode="json", exclude_defaults=True),
        }  # fmt: skip
        super().__init__(folder, keys)
        SignalAuthor.windows(self, "golden", 4, seed=5)
        model = autoencoder(FORM_NAMES[kind], channels_last=layout == "ntc")
        files = model if isinstance(model, ModelFiles) else ModelFiles(model)
        self.put(files, {"onnx": "onnx", "openvino": "xml", "torchscript": "pt"}[kind])
