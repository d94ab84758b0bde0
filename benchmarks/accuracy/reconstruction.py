"""Autoencoders under drift: false alarms and anomalies found, before and after a recalibration, in every format.

    python -m benchmarks run reconstruction [--seeds 0,1,2]

Small nets are trained on healthy samples: windows of three axes of a machine that turns, and pictures of a woven
fabric. The threshold is that of a bundle with ``threshold: null``, from 128 healthy samples. Takes a minute a
seed.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import calibration
from benchmarks.accuracy.datasets.export import to_onnx
from benchmarks.accuracy.methods.formats import as_ir, torchscript
from benchmarks.accuracy.tables.markdown import table
from calibration import ModelFiles, Options, Patch, Target, Values, open_target
from edge_runtime.bundles.build.quantize_onnx import fold_batch_norm, quantize_onnx
from edge_runtime.inference.postprocess.numbers import draw_threshold
from edge_runtime.inference.specs import AnomalySpec

Samples = NDArray[np.float32]
Change = Callable[[Samples], Samples]
SPEC = AnomalySpec(task="anomaly", score="reconstruction")
TRAINED_ON, HEALTHY, LIVE, TEST = 2000, 128, 64, 400
STEPS, BATCH, RATE = 1200, 64, 4e-3
LENGTH, SIDE = 64, 32
ALARMS, ANOMALIES = (
    [f"{what}: {when}" for when in ("healthy", "drifted", "patched")] for what in ("false alarms", "found")
)
HEAD = ("samples", "format", "drift", "patch", *ALARMS, *ANOMALIES)


@dataclass(frozen=True, slots=True)
class Kind:
    """Healthy samples, anomalies, and how the sensor drifts."""

    make: Callable[[int, int], Samples]
    """(count, seed) -> (N, C, ...)."""
    spoil: Callable[[Samples, int], Samples]
    """The same with an anomaly in each."""
    drifts: Mapping[str, Change]
    net: Callable[[], nn.Module]


def turning(count: int, seed: int) -> Samples:
    """Windows (N, 3, 64): a tone with its first harmonic at some speed; three axes see it, each in its way."""
    rng, t = np.random.default_rng(seed), np.arange(LENGTH) / LENGTH
    turn = 2 * np.pi * rng.uniform(2, 5, (count, 1, 1)) * t + rng.uniform(0, 2 * np.pi, (count, 1, 1))
    lag, gain = (np.array(one).reshape(1, 3, 1) for one in ([0, 0.7, 1.9], [1, 0.7, 0.5]))
    wave = gain * (np.sin(turn + lag) + 0.4 * np.sin(2 * turn + lag)) * rng.uniform(0.6, 1.4, (count, 1, 1))
    return np.asarray(wave + rng.normal(0, 0.05, wave.shape), np.float32)


def knock(x: Samples, seed: int) -> Samples:
    """A part that knocks once in each window, at two thirds of the strength of the tone."""
    rng, t = np.random.default_rng(seed), np.arange(LENGTH)
    since = t - rng.integers(0, LENGTH - 16, (len(x), 1, 1))
    return np.asarray(
        x + 0.7 * np.exp(-np.maximum(since, 0) / 6) * (since >= 0) * np.cos(1.9 * since), np.float32
    )


def fabric(count: int, seed: int) -> Samples:
    """Pictures (N, 3, 32, 32) of a fabric: two stripes that cross, of one colour, in light of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    shift, angle = rng.uniform(0, 2 * np.pi, (2, count, 1, 1)), rng.uniform(-0.15, 0.15, (count, 1, 1))
    warp = np.sin(2 * np.pi * 5 * (x + angle * y) + shift[0]) + np.sin(
        2 * np.pi * 5 * (y - angle * x) + shift[1]
    )
    colour, light = np.array([0.8, 0.5, 0.3]).reshape(1, 3, 1, 1), rng.uniform(-0.3, 0.3, (count, 1, 1, 1))
    return np.asarray(
        colour * warp[:, None] + light + rng.normal(0, 0.05, (count, 3, SIDE, SIDE)), np.float32
    )


def scratch(x: Samples, seed: int) -> Samples:
    """A bright line of one pixel in each picture."""
    rng, spoilt = np.random.default_rng(seed), x.copy()
    for picture, row, column in zip(spoilt, *rng.integers(0, SIDE - 12, (2, len(x))), strict=True):
        for i in range(12):
            picture[:, row + i, column + i] += 1.5
    return spoilt


def _change(gain: Sequence[float] | float, offset: Sequence[float] | float) -> Change:
    def change(x: Samples) -> Samples:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return np.asarray(x * np.reshape(gain, shape) + np.reshape(offset, shape), np.float32)

    return change


def net(conv: type[nn.Module], turned: type[nn.Module], norm: type[nn.Module], code: int) -> nn.Module:
    """Down by four, a narrow code, and up again."""
    return nn.Sequential(
        conv(3, 16, 8, stride=4, padding=2, bias=False), norm(16), nn.ReLU(),
        conv(16, 16, 3, padding=1, bias=False), norm(16), nn.ReLU(), conv(16, code, 1),
        conv(code, 16, 3, padding=1, bias=False), norm(16), nn.ReLU(),
        turned(16, 3, 8, stride=4, padding=2),
    )  # fmt: skip


_AFFINE = {
    "none": _change(1.0, 0.0),
    "gain 1.6, offset .5": _change(1.6, 0.5),
    "gain .6, offset -.3": _change(0.6, -0.3),
    "each channel otherwise": _change([1.8, 1.0, 0.6], [0.4, -0.6, 0.2]),
}
KINDS = {
    "windows": Kind(turning, knock, _AFFINE, lambda: net(nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, 4)),
    "pictures": Kind(fabric, scratch, _AFFINE, lambda: net(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, 6)),
}


def measure(seed: int) -> Iterator[list[object]]:
    """The lines of one seed."""
    for name, kind in KINDS.items():
        torch.manual_seed(seed)
        eager = train(kind.net(), kind.make(TRAINED_ON, seed + 50))
        for form, files in in_formats(eager, kind.make(200, seed + 51)).items():
            yield from ([name, form, *line] for line in measure_format(files, kind, seed))


def in_formats(eager: nn.Module, some: Samples) -> dict[str, ModelFiles]:
    """The net in every format; ``some`` samples are quantized with."""
    folded = fold_batch_norm(to_onnx(eager, torch.from_numpy(some[:2]), "x"))
    int8 = quantize_onnx(folded, some)
    return {
        "ONNX": ModelFiles(folded),
        "ONNX int8": ModelFiles(int8),
        "OpenVINO int8": as_ir(int8),
        "TorchScript": torchscript(torch.jit.script, eager),
    }


def measure_format(files: ModelFiles, kind: Kind, seed: int) -> Iterator[list[object]]:
    """Drift, whether a patch was accepted, and six shares of samples above the threshold."""
    target, options = open_target(files), Options(layout=Values.RECONSTRUCTION)
    healthy, test = kind.make(HEALTHY, seed + 1), kind.make(TEST, seed + 2)
    spoilt = kind.spoil(test, seed + 3)
    baseline = calibration.profile(files, healthy, layout=options.layout)
    threshold = draw_threshold(SPEC, score(target, healthy))
    assert threshold is not None

    def share(x: Samples, patch: Patch | None = None) -> str:
        return f"{(score(target, x, patch) > threshold).mean():.3f}"

    for drift, change in kind.drifts.items():
        verdict = calibration.recalibrate(files, baseline, change(kind.make(LIVE, seed + 4)), options=options)
        shares = [[share(x), share(change(x)), share(change(x), verdict.patch)] for x in (test, spoilt)]
        yield [drift, verdict.candidate if verdict.accepted else "no", *shares[0], *shares[1]]


def train(made: nn.Module, x: Samples) -> nn.Module:
    """The net that gives its input again, in evaluation mode; repeatable on one machine."""
    torch.set_num_threads(1)
    optimizer, given = torch.optim.Adam(made.parameters(), RATE), torch.from_numpy(x)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        batch = given[torch.randint(len(given), (BATCH,))]
        optimizer.zero_grad()
        nn.functional.mse_loss(made(batch), batch).backward()
        optimizer.step()
        rate.step()
    return made.eval()


def score(target: Target, x: Samples, patch: Patch | None = None) -> NDArray[np.float64]:
    """(N,) as a daemon scores them."""
    [again] = target.runner(patch)(x).values()
    off = again - (x if patch is None else patch.correct_input(x))
    return np.asarray(np.sqrt(np.square(off, dtype=np.float64).reshape(len(x), -1).mean(axis=1)))


@click.command()
@click.option("--seeds", default="0,1,2", show_default=True)
def main(seeds: str) -> None:
    """Recalibrate autoencoders under drift."""
    warnings.filterwarnings("ignore")
    lines = [[seed, *line] for seed in map(int, seeds.split(",")) for line in measure(seed)]
    click.echo(table(("seed", *HEAD), lines))
