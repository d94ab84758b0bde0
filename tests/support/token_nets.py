"""Nets whose layers see tokens instead of pictures, as transformers do, in every format; the torch net is the oracle.

The layers of :class:`Tokens` give their rows in all the orders there are: frames first, tokens first, and both folded
into one axis in either order.
"""

import io
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import nn

from calibration.targets.base import ModelFiles
from calibration.targets.open import Model, open_target
from calibration.targets.target import Target
from tests.support.onnx_nets import Floats, pictures
from tests.support.openvino_nets import ir_of
from tests.support.torch_nets import quiet, traced

SIDE, PATCH, WIDTH = 16, 4, 12
TOKENS = (SIDE // PATCH) ** 2

Rows = Callable[[np.ndarray, int], np.ndarray]


class Tokens(nn.Module):
    """patch conv, a linear layer per order of rows with attention between them, mean over the tokens, head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.frames_first = nn.Linear(WIDTH, 3 * WIDTH)
        self.frames_in_rows = nn.Linear(WIDTH, 10)
        self.tokens_first = nn.Linear(10, 11)
        self.tokens_in_rows = nn.Linear(11, WIDTH)
        self.windows = nn.Conv1d(WIDTH, 9, 1)
        self.head = nn.Linear(9, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        x = self.patches(x).flatten(2).transpose(1, 2)  # (N, T, C)
        q, k, v = self.frames_first(x).chunk(3, 2)
        x = x + torch.softmax(q @ k.transpose(1, 2) / WIDTH**0.5, 2) @ v
        x = torch.tanh(self.frames_in_rows(x.reshape(-1, WIDTH)))  # (N*T, C)
        x = x.reshape(n, -1, 10).transpose(0, 1)  # (T, N, C)
        x = torch.tanh(self.tokens_first(x)).reshape(-1, 11)  # (T*N, C)
        x = self.tokens_in_rows(x).reshape(-1, n, WIDTH).permute(1, 2, 0)  # (N, C, T)
        x = (
            x.reshape(n, WIDTH, 4, 4).transpose(1, 2).reshape(-1, WIDTH, 4)
        )  # (N*4, C, 4): a frame is four rows
        x = torch.tanh(self.windows(torch.tanh(x))).reshape(n, 4, 9, 4)
        return self.head(x.mean((1, 3))) * 4


class Transformer(nn.Module):
    """patch conv, positions, one ``nn.TransformerEncoderLayer``, mean over the tokens, head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, PATCH, PATCH)
        self.positions = nn.Parameter(torch.randn(1, TOKENS, 16) * 0.1)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.layer(x).mean(1)) * 4


class Chosen(nn.Module):
    """Only the bright patches reach one of its layers: how many there are depends on the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.chosen = nn.Linear(WIDTH, WIDTH)
        self.usual = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.patches(x).flatten(2).transpose(1, 2)
        flat = rows.reshape(-1, WIDTH)
        best = torch.tanh(self.chosen(flat[flat[:, 0] > 0.1])).sum(0)
        return self.head(torch.tanh(self.usual(rows)).mean(1) + best)


class Folded(nn.Module):
    """A layer over N*T rows, whose number is not written down anywhere: its batch axis can be freed."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.rows = nn.Linear(WIDTH, 9)
        self.head = nn.Linear(9, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.patches(x).permute(0, 2, 3, 1).reshape(-1, WIDTH)
        return self.head(torch.tanh(self.rows(rows)).reshape(-1, TOKENS, 9).mean(1))


ORDERS: dict[str, Rows] = {
    "patches": lambda y, n: y.reshape(n, WIDTH, -1).transpose(0, 2, 1),
    "frames_first": lambda y, n: y,
    "frames_in_rows": lambda y, n: y.reshape(n, -1, y.shape[-1]),
    "tokens_first": lambda y, n: y.transpose(1, 0, 2),
    "tokens_in_rows": lambda y, n: y.reshape(-1, n, y.shape[-1]).transpose(1, 0, 2),
    "windows": lambda y, n: y.reshape(n, 4, 9, 4).transpose(0, 1, 3, 2).reshape(n, -1, 9),
}
"""How (N, positions, C) is found in what each layer of :class:`Tokens` gives."""


def tokens(seed: int = 0) -> Tokens:
    torch.manual_seed(seed)
    return Tokens().eval()


def transformer(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer().eval()


def onnx_of(net: nn.Module) -> bytes:
    """By the older exporter, with a dynamic batch axis."""
    buffer = io.BytesIO()
    with quiet():
        torch.onnx.export(
            net,
            (torch.from_numpy(pictures(2)),),
            buffer,
            dynamo=False,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
            opset_version=17,
        )
    return buffer.getvalue()


FORMATS: dict[str, Callable[[nn.Module], Model]] = {
    "ONNX": onnx_of,
    "OpenVINO": lambda net: ModelFiles(*ir_of(onnx_of(net))),
    "OpenVINO of one picture": lambda net: ModelFiles(*ir_of(onnx_of(net), batch=1)),
    "TorchScript": traced,
}


@cache
def opened(name: str) -> Target:
    """:func:`tokens` in a format; opened once, as nothing that is asked of a target changes it."""
    return open_target(FORMATS[name](tokens()))


def taps_by_layer(target: Target) -> dict[str, str]:
    """Which tap is which layer of :class:`Tokens`: their order and channels are the same in every format."""
    layers = {
        "patches": WIDTH, "frames_first": 3 * WIDTH, "frames_in_rows": 10, "tokens_first": 11,
        "tokens_in_rows": WIDTH, "windows": 9,
    }  # fmt: skip
    assert [tap.channels for tap in target.taps] == list(layers.values())
    return dict(zip(layers, (tap.name for tap in target.taps), strict=True))


def hazy_pictures(count: int, seed: int) -> Floats:
    return np.asarray(pictures(count, seed=seed) * 0.6 + 0.25, np.float32)
