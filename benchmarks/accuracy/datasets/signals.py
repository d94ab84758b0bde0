"""Two labelled sets of signals that ship with packages, and a small 1-D net for each: train once per seed and keep.

``basic_motions``: 80 recordings of six axes, 100 values each (accelerometer and gyroscope, four activities), in the
package ``aeon``; windows of 50 values. ``mnist_1d``: 5,000 signals of one channel and 40 values, ten classes, which the
package ``mnist1d`` generates. Nets see healthy windows only; every channel is standardised by those they see.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.accuracy.datasets.export import to_onnx
from benchmarks.accuracy.datasets.signal_net import signal_net
from benchmarks.accuracy.datasets.training import fit
from benchmarks.accuracy.records import NotInstalled
from calibration.stats.atomic_file import write_atomically
from examples.vibration.vibration import read_series

Windows = NDArray[np.float32]
Labels = NDArray[np.int64]

WINDOW, HOP = 50, 10
"""Of BasicMotions: six windows of each recording."""
PARTS_1D = (512, 1_000, 988)
"""Signals of MNIST-1D in baseline, pool and test; 2,500 train the net."""
RECORDINGS = (16, 12, 12)
"""Recordings of BasicMotions in baseline, pool and test: 96, 72 and 72 windows; 40 train the net."""
BATCH, PEAK_RATE = 32, 0.05


class SignalsMissing(NotInstalled):
    """A package is not installed; the message names it."""

    def __init__(self, package: str, install: str) -> None:
        super().__init__(f"The package {package} is not installed: pip install {install}")


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled windows: ``x`` float32 (N, C, T), ``y`` int64 (N,)."""

    x: Windows
    y: Labels


@dataclass(frozen=True, slots=True)
class Split:
    """Four parts without a common recording."""

    train: Part
    baseline: Part
    pool: Part
    test: Part
    epochs: int


def basic_motions(seed: int) -> Split:
    """One split of BasicMotions; raises SignalsMissing."""
    if find_spec("aeon") is None:
        raise SignalsMissing("aeon", "--no-deps aeon==1.6.0")
    series, motions = zip(*(read_series(split) for split in ("TRAIN", "TEST")), strict=True)
    recordings, labels = np.concatenate(series).transpose(0, 2, 1), np.concatenate(motions)
    rng = np.random.default_rng([seed, 70])
    by_class = [rng.permutation(np.flatnonzero(labels == label)) for label in range(int(labels.max()) + 1)]
    order = np.stack(by_class, axis=1).ravel()  # every part has as many of each activity
    parts = [_windows(recordings, labels, part) for part in _cut(order, RECORDINGS)]
    return _standardised(parts, 60)


def mnist_1d(seed: int) -> Split:
    """One split of MNIST-1D; raises SignalsMissing."""
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as err:
        raise SignalsMissing("mnist1d", "'edge-runtime[bench]'") from err
    made = make_dataset(get_dataset_args())
    x = np.concatenate([made["x"], made["x_test"]])[:, np.newaxis]
    y = np.concatenate([made["y"], made["y_test"]]).astype(np.int64)
    order = np.random.default_rng([seed, 71]).permutation(len(x))
    return _standardised([Part(x[part], y[part]) for part in _cut(order, PARTS_1D)], 20)


DATASETS: dict[str, Callable[[int], Split]] = {"basic_motions": basic_motions, "mnist_1d": mnist_1d}


def trained_net(name: str, seed: int, folder: Path) -> bytes:
    """The net of a data set and a seed as float ONNX, its BatchNorms folded; kept in ``folder``."""
    path = folder / f"{name}-{seed}.onnx"
    if not path.is_file():
        split = DATASETS[name](seed)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, exported(train(split.train, seed, split.epochs), split.train.x.shape[1:]))
    return path.read_bytes()


def train(part: Part, seed: int, epochs: int) -> nn.Module:
    """A net in evaluation mode; repeatable on one machine."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = signal_net(part.x.shape[1], int(part.y.max()) + 1)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=PEAK_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    return fit(net, optimizer, part.x, part.y, epochs=epochs, batch=BATCH, peak_rate=PEAK_RATE)


def exported(net: nn.Module, shape: tuple[int, ...]) -> bytes:
    """The net for windows of one shape (C, T) as float ONNX with a dynamic batch axis."""
    return to_onnx(net, torch.zeros(2, *shape), "window")


def _cut(order: NDArray[np.intp], sizes: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """The rest first, then parts of these sizes."""
    ends = len(order) - np.cumsum(sizes[::-1])[::-1]
    return np.split(order, ends)


def _windows(recordings: NDArray[np.float64], labels: Labels, chosen: NDArray[np.intp]) -> Part:
    """Windows of some recordings (N, C, T), in their order."""
    starts = range(0, recordings.shape[2] - WINDOW + 1, HOP)
    x = np.concatenate([[recordings[i, :, s : s + WINDOW] for s in starts] for i in chosen])
    return Part(x, np.repeat(labels[chosen], len(starts)))


def _standardised(parts: list[Part], epochs: int) -> Split:
    """Every channel with mean 0 and standard deviation 1 in the first part."""
    mean = parts[0].x.mean(axis=(0, 2), keepdims=True)
    std = parts[0].x.std(axis=(0, 2), keepdims=True)
    train, baseline, pool, test = (Part(((part.x - mean) / std).astype(np.float32), part.y) for part in parts)
    return Split(train, baseline, pool, test, epochs)
