"""Small deterministic nets on signals, in torch: windows (N, C, T) or (N, T, C), and vectors of features (N, F)."""

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from calibration.targets.base import ModelFiles
from calibration.targets.open import Model
from tests.support.onnx_nets import Floats, quantized
from tests.support.openvino_nets import by_nncf, ir_of
from tests.support.torch_nets import lived_in, quiet, scripted

CHANNELS, LENGTH = 6, 40


class Separable(nn.Module):
    """conv - BN - relu - max pool, a dilated separable block with a skip, average pool, mean, linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(CHANNELS, 8, 5, stride=2, padding=2, bias=False)
        self.stem_bn = nn.BatchNorm1d(8)
        self.depth = nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=8, bias=False)
        self.depth_bn = nn.BatchNorm1d(8)
        self.point = nn.Conv1d(8, 8, 1, bias=False)
        self.point_bn = nn.BatchNorm1d(8)
        self.last = nn.Conv1d(8, 12, 3, padding=1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool1d(torch.relu(self.stem_bn(self.stem(x))), 3, 2, 1)
        y = torch.relu(self.depth_bn(self.depth(x)))
        x = nn.functional.avg_pool1d(torch.relu(x + self.point_bn(self.point(y))), 2)
        return self.head(torch.relu(self.last(x)).mean(2))


class Flat(nn.Module):
    """Two convolutions, adaptive pool, flatten, linear - BN - relu, and three values (a regression)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(CHANNELS, 8, 4, stride=4)
        self.first_bn = nn.BatchNorm1d(8)
        self.second = nn.Conv1d(8, 6, 3)
        self.pool = nn.AdaptiveAvgPool1d(4)
        self.wide = nn.Linear(24, 16)
        self.wide_bn = nn.BatchNorm1d(16)
        self.values = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first_bn(self.first(x)))))
        x = torch.relu(self.wide_bn(self.wide(self.pool(x).flatten(1))))
        return self.values(x)


class Autoencoder(nn.Module):
    """Convolutions down and transposed ones up: the answer has the shape of the window."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(CHANNELS, 8, 4, stride=2, padding=1, bias=False)
        self.down_bn = nn.BatchNorm1d(8)
        self.code = nn.Conv1d(8, 4, 3, padding=1)
        self.up = nn.ConvTranspose1d(4, 8, 4, stride=2, padding=1, bias=False)
        self.up_bn = nn.BatchNorm1d(8)
        self.out = nn.ConvTranspose1d(8, CHANNELS, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.code(torch.relu(self.down_bn(self.down(x)))))
        return self.out(torch.relu(self.up_bn(self.up(x))))


class Recurrent(nn.Module):
    """Two convolutions, an LSTM or GRU over time, a linear head on its last step."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU] = nn.LSTM) -> None:
        super().__init__()
        self.first = nn.Conv1d(CHANNELS, 8, 5, stride=2, bias=False)
        self.first_bn = nn.BatchNorm1d(8)
        self.second = nn.Conv1d(8, 6, 3)
        self.sequence = kind(6, 10, batch_first=True)
        self.head = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first_bn(self.first(x)))))
        steps, _ = self.sequence(x.transpose(1, 2))
        return self.head(steps[:, -1])


class Features(nn.Module):
    """linear - BN - relu twice, linear head: on vectors of features."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(CHANNELS, 16)
        self.one_bn = nn.BatchNorm1d(16)
        self.two = nn.Linear(16, 12, bias=False)
        self.two_bn = nn.BatchNorm1d(12)
        self.three = nn.Linear(12, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.two_bn(self.two(torch.relu(self.one_bn(self.one(x))))))
        return self.head(torch.relu(self.three(x)))


class ChannelsLast(nn.Module):
    """The same net on windows (N, T, C)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.transpose(1, 2))


class AsPictures(nn.Module):
    """Convolutions over time written in two dimensions, as Keras and tf2onnx do; windows (N, C, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, 8, (1, 5), stride=(1, 2))
        self.second = nn.Conv2d(8, 6, (1, 3))
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x.unsqueeze(2))).squeeze(2)
        return self.head(torch.relu(self.second(x.unsqueeze(2))).squeeze(2).mean(2))


class AsKeras(nn.Module):
    """The same on windows (N, T, C), which become pictures with the channels last first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, 8, (1, 5))
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first((x * 2 - 1).unsqueeze(1).permute(0, 3, 1, 2)))
        return self.head(x.permute(0, 2, 3, 1).squeeze(1).mean(1))


class OverChannels(nn.Module):
    """Linear layers over the channels of windows (N, T, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(CHANNELS, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.wide(x)).mean(1))


class Flattened(nn.Module):
    """Windows (N, T, C) as one vector: no layer knows the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(CHANNELS * LENGTH, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.wide(x.flatten(1))))


class OnlyRecurrent(nn.Module):
    """An LSTM and a head on windows (N, T, C): nothing in it can be corrected."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = nn.LSTM(CHANNELS, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.sequence(x)[0][:, -1])


@dataclass(frozen=True)
class SignalNet:
    """How a net is made, and the layers whose outputs are its taps, in graph order."""

    make: Callable[[], nn.Module]
    layers: tuple[str, ...]
    """In TorchScript."""
    of_graphs: tuple[str, ...] = ()
    """In ONNX, where they are others: a linear layer in front of a BatchNorm is a tap of its own."""
    of_irs: tuple[str, ...] = ()
    """In OpenVINO, where they are others than in ONNX: a product needs no bias there."""
    is_window: bool = True

    def made(self) -> nn.Module:
        torch.manual_seed(1)
        return lived_in(self.make())

    def samples(self, n: int, seed: int = 0) -> Floats:
        """(N, C, T) or (N, C)."""
        x = windows(n, seed)
        return x if self.is_window else np.ascontiguousarray(x[:, :, 0])

    def taps_in(self, form: str) -> tuple[str, ...]:
        """Layers that are taps in a form of ``FORMS``."""
        if form == "TorchScript":
            return self.layers
        return (self.of_irs if form == "OpenVINO" else ()) or self.of_graphs or self.layers


def windows(n: int, seed: int = 0, length: int = LENGTH) -> Floats:
    """(N, 6, T): a sine of its own frequency and phase on every channel, with noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(length) / 10
    waves = np.sin(t * rng.uniform(1, 6, (n, CHANNELS, 1)) + rng.uniform(0, 6, (n, CHANNELS, 1)))
    return (waves + rng.normal(0, 0.2, waves.shape)).astype(np.float32)


def gained(x: Floats) -> Floats:
    """A sensor whose gain and offset have drifted."""
    return (x * 1.6 + 0.4).astype(np.float32)


def time_first(x: Floats) -> Floats:
    """(N, C, T) as (N, T, C)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


SIGNAL_NETS: Mapping[str, SignalNet] = {
    "separable": SignalNet(Separable, ("stem_bn", "depth_bn", "point_bn", "last")),
    "flat": SignalNet(
        Flat, ("first_bn", "second", "wide_bn"), of_graphs=("first_bn", "second", "wide", "wide_bn")
    ),
    "autoencoder": SignalNet(Autoencoder, ("down_bn", "code", "up_bn")),
    "as pictures": SignalNet(AsPictures, ("first", "second")),
    "lstm": SignalNet(Recurrent, ("first_bn", "second")),
    "gru": SignalNet(lambda: Recurrent(nn.GRU), ("first_bn", "second")),
    "features": SignalNet(
        Features, ("one_bn", "two_bn", "three"), is_window=False,
        of_graphs=("one", "one_bn", "two_bn", "three"), of_irs=("one", "one_bn", "two", "two_bn", "three"),
    ),
}  # fmt: skip


def exported(net: nn.Module, x: Floats, *, free: tuple[int, ...] = (0,)) -> bytes:
    """The ONNX file of a net on inputs like ``x``, in the net's own layout; the axes in ``free`` are dynamic."""
    buffer = io.BytesIO()
    with quiet(), torch.no_grad():
        torch.onnx.export(
            net, (torch.from_numpy(x[:2] if 0 in free else x[:1]),), buffer, dynamo=False, opset_version=17,
            input_names=["input"], output_names=["output"],
            dynamic_axes={"input": {axis: f"d{axis}" for axis in free}},
        )  # fmt: skip
    return buffer.getvalue()


FORMS: Mapping[str, Callable[[nn.Module, Floats], Model]] = {
    "ONNX": exported,
    "OpenVINO": lambda net, x: ModelFiles(*ir_of(exported(net, x))),
    "TorchScript": lambda net, _: scripted(net),
}
"""A net in every format, on inputs like the given ones."""


def int8(net: nn.Module, x: Floats) -> bytes:
    """Static int8 QDQ of ONNX Runtime; linear layers in front of a BatchNorm keep it."""
    with tempfile.TemporaryDirectory() as folder:
        return quantized(exported(net, x), Path(folder), x)


INT8_FORMS: Mapping[str, Callable[[nn.Module, Floats], Model]] = {
    "ONNX": int8,
    "OpenVINO, from QDQ": lambda net, x: ModelFiles(*ir_of(int8(net, x))),
    "OpenVINO, by NNCF": lambda net, x: ModelFiles(*by_nncf(exported(net, x), x)),
}
