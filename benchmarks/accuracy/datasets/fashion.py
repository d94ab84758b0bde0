"""Fashion-MNIST and its small net: load, train once per seed, export, quantize, keep.

The pictures come from the Debian package ``dataset-fashion-mnist`` (MIT): installed, never shipped. The net is
trained on healthy pictures only; no drift is known to it.
"""

import gzip
import io
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.accuracy.datasets.export import to_onnx
from benchmarks.accuracy.datasets.fashion_net import fashion_net
from benchmarks.accuracy.records import NotInstalled
from calibration.stats.atomic_file import write_atomically
from edge_runtime.bundles.build.quantize_onnx import quantize_onnx

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

FOLDER = Path("/usr/share/datasets/fashion-mnist")
SIDE = 28
CLASSES = 10
MEAN, STD = 0.286, 0.353
"""Of all training pictures, on a scale of 0 to 1."""

TRAINED_ON = 20_000
QUANTIZED_WITH = 200
EPOCHS, BATCH, PEAK_RATE = 8, 128, 0.2
BASELINE, POOL, TEST = 512, 2_000, 2_000
"""Pictures per part of a split; the pool is what the camera saw, references are drawn from it."""


class FashionMissing(NotInstalled):
    """The pictures are not installed; the message names the package."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: no such file. Install the pictures with: apt-get install dataset-fashion-mnist"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Labelled pictures: ``pixels`` uint8 (N,28,28,1), ``labels`` int64 (N,)."""

    pixels: Pixels
    labels: Labels

    def take(self, index: NDArray[np.intp]) -> "Part":
        """Some of them, in the order of ``index``."""
        return Part(self.pixels[index], self.labels[index])


@dataclass(frozen=True, slots=True)
class Split:
    """Three parts of the published test pictures, without a common one."""

    baseline: Part
    pool: Part
    test: Part


@dataclass(frozen=True, slots=True)
class TrainedNet:
    """One net in the forms that are compared."""

    eager: nn.Module
    """Float, live BatchNorm, in evaluation mode."""
    int8: bytes
    """ONNX, BatchNorm folded, static QDQ, a weight scale per channel."""


def load(part: str, folder: Path = FOLDER) -> Part:
    """All pictures of ``train`` (60,000) or ``t10k`` (10,000).

    Raises:
        FashionMissing: the package is not installed.
    """
    pixels = _idx(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, SIDE, SIDE, 1)
    return Part(pixels, _idx(folder / f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64))


def load_split(seed: int, folder: Path = FOLDER) -> Split:
    """Baseline, pool and test pictures of one seed, each in random order."""
    everything = load("t10k", folder)
    order = np.random.default_rng([seed, 10]).permutation(len(everything.labels))
    edges = (0, BASELINE, BASELINE + POOL, BASELINE + POOL + TEST)
    parts = [everything.take(order[a:b]) for a, b in pairwise(edges)]
    return Split(*parts)


def prepare(pixels: Pixels) -> NDArray[np.float32]:
    """The net's preprocessing: uint8 (N,28,28,1) -> float32 (N,1,28,28)."""
    scaled = (pixels.astype(np.float32) / 255 - MEAN) / STD
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def trained_net(seed: int, folder: Path, pictures: Path = FOLDER) -> TrainedNet:
    """The net of one seed: from ``folder`` when it was made before, else trained, quantized and kept there."""
    weights, int8 = folder / f"fashion-{seed}.pt", folder / f"fashion-{seed}.int8.onnx"
    if not (weights.is_file() and int8.is_file()):
        part = _trained_on(seed, pictures)
        net = train(part, seed)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(int8, quantize_onnx(exported(net), prepare(part.pixels[:QUANTIZED_WITH])))
        coded = io.BytesIO()
        torch.save(net.state_dict(), coded)
        write_atomically(weights, coded.getvalue())
    net = fashion_net(CLASSES)
    net.load_state_dict(torch.load(weights, weights_only=True))
    return TrainedNet(net.eval(), int8.read_bytes())


def quantized_with(seed: int, pictures: Path = FOLDER) -> NDArray[np.float32]:
    """The prepared pictures that the net of a seed was quantized with."""
    return prepare(_trained_on(seed, pictures).pixels[:QUANTIZED_WITH])


def train(part: Part, seed: int, epochs: int = EPOCHS) -> nn.Module:
    """A net trained on mirrored and slightly shifted pictures, in evaluation mode; repeatable on one machine."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    net = fashion_net(CLASSES)
    x, y = torch.from_numpy(prepare(part.pixels)), torch.from_numpy(part.labels)
    steps = math.ceil(len(x) / BATCH)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=PEAK_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, epochs=epochs, steps_per_epoch=steps)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(_augmented(x[index])), y[index]).backward()
            optimizer.step()
            rate.step()
    return net.eval()


def exported(net: nn.Module, *, folded: bool = True) -> bytes:
    """The net as float ONNX, its BatchNorms folded into the convolutions or live."""
    return to_onnx(net, torch.zeros(2, 1, SIDE, SIDE), "image", folded=folded)


def _trained_on(seed: int, pictures: Path) -> Part:
    chosen = np.random.default_rng([seed, 60]).permutation(60_000)[:TRAINED_ON]
    return load("train", pictures).take(chosen)


def _augmented(x: torch.Tensor) -> torch.Tensor:
    """Half of the pictures mirrored, the batch shifted by up to one pixel."""
    mirrored = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    down, right = torch.randint(-1, 2, (2,)).tolist()
    return mirrored.roll((down, right), (2, 3))


def _idx(path: Path, header_bytes: int) -> Pixels:
    """The values of an IDX file, after its header."""
    try:
        data = gzip.decompress(path.read_bytes())
    except FileNotFoundError as err:
        raise FashionMissing(path) from err
    return np.frombuffer(data, np.uint8, offset=header_bytes)
