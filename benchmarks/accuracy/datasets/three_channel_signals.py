"""Labelled signals of three channels and nets on them: windows (N,C,T), (N,T,C), and vectors of features (N,F).

The signals are MNIST-1D's (Greydanus and Kobak 2020, MIT), which the package ``mnist1d`` computes: ten shapes, moved,
sheared and noisy, of 40 values. Each channel is another signal of the same class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.accuracy.datasets.training import fit
from benchmarks.accuracy.records import NotInstalled

Samples = NDArray[np.float32]
Labels = NDArray[np.int64]

CHANNELS, LENGTH, CLASSES = 3, 40, 10
MADE = 6_000
"""Signals of one channel that are computed; each part of a split has its own."""
PARTS = {"train": (3_000, 6_000), "baseline": (1_000, 512), "pool": (1_000, 1_000), "test": (1_000, 2_000)}
"""Of each part, how many signals of one channel, and how many of three are put together from them."""
EPOCHS, BATCH, PEAK_RATE = 12, 64, 0.01


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled signals: ``x`` float32 (N,3,40), ``labels`` int64 (N,)."""

    x: Samples
    labels: Labels


def load_split(seed: int) -> Mapping[str, Part]:
    """The four parts of one seed; no two of them have a signal in common.

    Raises:
        NotInstalled: the package is missing.
    """
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ModuleNotFoundError as err:
        raise NotInstalled("Install the signals with: pip install mnist1d") from err
    options = get_dataset_args()
    options.num_samples, options.train_split, options.seed = MADE, 1.0, seed
    made = make_dataset(options)
    rng, found, begin = np.random.default_rng([seed, 70]), dict[str, Part](), 0
    order = rng.permutation(MADE)
    for name, (singles, count) in PARTS.items():
        chosen = order[begin : begin + singles]
        found[name] = _join(made["x"][chosen], made["y"][chosen], count, rng)
        begin += singles
    return found


def _join(x: NDArray[np.float64], labels: Labels, count: int, rng: np.random.Generator) -> Part:
    """Signals of three channels out of signals of one, all of one class."""
    classes = rng.integers(0, CLASSES, count)
    places = [rng.choice(np.flatnonzero(labels == one), CHANNELS, replace=False) for one in classes]
    return Part(x[np.asarray(places)].astype(np.float32), classes)


def band_limited(x: Samples) -> Samples:
    """Half of the band gone: the mean of three values, twice."""
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2)), mode="edge")
    weights = np.convolve([1, 1, 1], [1, 1, 1]) / 9
    parts = [w * padded[:, :, i : i + x.shape[2]] for i, w in enumerate(weights)]
    return np.asarray(np.sum(parts, axis=0), np.float32)


DRIFTS: Mapping[str, Callable[[Samples], Samples]] = {
    "gain 1.6 and offset": lambda x: (1.6 * x + 0.8).astype(np.float32),
    "gain 0.4": lambda x: (0.4 * x).astype(np.float32),
    "offsets by channel": lambda x: (x + np.array([[1.5], [-1.0], [0.5]])).astype(np.float32),
    "band limit": band_limited,
}
"""What becomes of a sensor, on signals of unit spread."""


class Convolutions(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Five convolutions over time, two of them a dilated separable pair with a skip; every one has a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(CHANNELS, 32, 5)
        self.depth, self.point = _conv(32, 32, 3, dilation=2, groups=32), _conv(32, 32, 1)
        self.wide, self.last = _conv(32, 64, 3, stride=2), _conv(64, 64, 3)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N,3,40) to (N,10) logits."""
        x = nn.functional.max_pool1d(self.stem(x), 2)
        x = x + self.point(self.depth(x))
        return self.head(self.last(self.wide(x)).mean(2))


class TimeFirst(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A net on windows (N,T,C) that is made of one on (N,C,T)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N,40,3) to (N,10) logits."""
        return self.net(x.transpose(1, 2))


def _conv(channels_in: int, channels_out: int, size: int, **more: int) -> nn.Module:
    padding = more.get("dilation", 1) * (size // 2)
    return nn.Sequential(
        nn.Conv1d(channels_in, channels_out, size, padding=padding, bias=False, **more),
        nn.BatchNorm1d(channels_out),
        nn.ReLU(),
    )


def perceptron() -> nn.Module:
    """(N,120) to (N,10) logits: two linear layers with BatchNorm, and a head."""
    return nn.Sequential(
        nn.Linear(CHANNELS * LENGTH, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(),
        nn.Linear(128, 96, bias=False), nn.BatchNorm1d(96), nn.ReLU(),
        nn.Linear(96, CLASSES),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SignalNet:
    """A trained net and how it takes the signals."""

    eager: nn.Module
    """In evaluation mode."""
    prepare: Callable[[Samples], Samples]
    """(N,3,40) as the library takes it: (N,C,T) or (N,F)."""
    to_own: Callable[[Samples], Samples]
    """That as the net itself takes it."""


def trained_nets(part: Part, seed: int, epochs: int = EPOCHS) -> Mapping[str, SignalNet]:
    """The nets by what they take. The one on (N,T,C) is that on (N,C,T)."""
    convolutions, linear = (
        train(Convolutions, part.x, part.labels, seed, epochs),
        train(perceptron, flat(part.x), part.labels, seed, epochs),
    )
    return {
        "convolutions on (N,C,T)": SignalNet(convolutions, _as_is, _as_is),
        "convolutions on (N,T,C)": SignalNet(TimeFirst(convolutions).eval(), _as_is, time_first),
        "linear layers on (N,F)": SignalNet(linear, flat, _as_is),
    }


def time_first(x: Samples) -> Samples:
    """(N,3,40) as (N,40,3)."""
    return np.ascontiguousarray(x.transpose(0, 2, 1))


def flat(x: Samples) -> Samples:
    """(N,3,40) as (N,120)."""
    return x.reshape(len(x), -1)


def _as_is(x: Samples) -> Samples:
    return x


def train(
    make: Callable[[], nn.Module], x: Samples, labels: Labels, seed: int, epochs: int = EPOCHS
) -> nn.Module:
    """A trained net in evaluation mode; repeatable on one machine. Takes some seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = make()
    optimizer = torch.optim.Adam(net.parameters())
    return fit(net, optimizer, x, labels, epochs=epochs, batch=BATCH, peak_rate=PEAK_RATE)
