"""A net of Conv1d and BatchNorm for windows of six axes: trained, saved as a checkpoint, and built into bundles.

``python -m examples.vibration.vibration --out DIR`` needs the extras ``build`` and ``openvino``, and the data set
BasicMotions, which the package aeon ships as files (``pip install --no-deps aeon==1.6.0``; it is not imported): a
sensor of acceleration and rotation, 10 samples a second, 40 series of 10 s to train with and 40 to test. It takes half
a minute, and leaves in DIR: ``vibration.pt``, folders of windows, the configuration ``box.yaml``, and the bundles
``vibration/1`` (int8 ONNX), ``vibration/2`` (int8 OpenVINO IR) and ``vibration/3`` (TorchScript).
"""

import re
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_runtime.bundles.build.from_recipe import Built, build_from_recipe

RECIPE = Path(__file__).with_suffix(".yaml")
AXES = ("ax", "ay", "az", "gx", "gy", "gz")
UNITS = ("m/s2",) * 3 + ("rad/s",) * 3
MOTIONS = ("Standing", "Running", "Walking", "Badminton")
RATE_HZ = 10.0
LENGTH, HOP = 50, 10
"""Samples: a window of 5 s each second, six of a series."""
BUNDLES: tuple[Mapping[str, Any], ...] = (
    {"version": 1, "formats": ["onnx"], "quantize": "int8"},
    {"version": 2, "formats": ["openvino"], "quantize": "int8"},
    {"version": 3, "formats": ["torchscript"], "quantize": "none"},
)
_EPOCHS, _BATCH = 40, 48
_GOLDEN = 8


def make_net() -> nn.Module:
    """The net without its weights, (N, 6, T) -> logits (N, 4): the recipe's factory."""
    return nn.Sequential(
        nn.Conv1d(6, 16, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(16), nn.ReLU(),
        nn.Conv1d(16, 32, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
        nn.Conv1d(32, 32, 3, padding=1, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, len(MOTIONS)),
    )  # fmt: skip


def read_series(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Series ``x`` (40, 100, 6) of ``TRAIN`` or ``TEST`` in their units, and the numbers ``y`` (40,) of the motions."""
    found = find_spec("aeon")
    if found is None or not found.submodule_search_locations:
        click.echo("the data needs aeon's files: pip install --no-deps aeon==1.6.0", err=True)
        sys.exit(64)
    folder = Path(found.submodule_search_locations[0], "datasets", "data", "BasicMotions")
    lines = (folder / f"BasicMotions_{split}.ts").read_text(encoding="utf-8").splitlines()
    rows = [line.split(":") for line in lines if line and not re.match(r"[#@]", line)]
    x = [np.array([[float(value) for value in axis.split(",")] for axis in row[:-1]]).T for row in rows]
    return np.stack(x).astype(np.float32), np.array([MOTIONS.index(row[-1]) for row in rows], np.int64)


def cut(x: NDArray[np.float32], y: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Windows (N, LENGTH, 6) of all series (n, T, 6), and their motions (N,)."""
    begins = range(0, x.shape[1] - LENGTH + 1, HOP)
    windows = [x[:, at : at + LENGTH] for at in begins]
    return np.concatenate(windows), np.tile(y, len(windows))


def train(seed: int = 0) -> dict[str, Any]:
    """A trained checkpoint: weights, and how a window is prepared for them."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # of so small a net two take ten times as much of the processor
    series, motions = read_series("TRAIN")
    mean, std = series.mean(axis=(0, 1)), series.std(axis=(0, 1))
    windows, y = cut(series, motions)
    x, labels = torch.from_numpy((windows - mean) / std).transpose(1, 2), torch.from_numpy(y)
    net = make_net()
    steps = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
    for _ in range(_EPOCHS):
        for batch in torch.randperm(len(x)).split(_BATCH):
            loss = nn.functional.cross_entropy(net(x[batch]), labels[batch], label_smoothing=0.05)
            steps.zero_grad()
            loss.backward()
            steps.step()
    return {"state_dict": net.state_dict(), "preprocessing": describe_input(mean, std), "version": 1}


def describe_input(mean: NDArray[np.float32], std: NDArray[np.float32]) -> dict[str, Any]:
    """The ``preprocess`` of a recipe, which travels in the checkpoint; ``mean`` and ``std`` (6,) are in the units."""
    facts = zip(AXES, UNITS, mean.tolist(), std.tolist(), strict=True)
    channels = [{"name": name, "unit": unit, "mean": m, "std": s} for name, unit, m, s in facts]
    return {"kind": "signal", "channels": channels, "rate_hz": RATE_HZ, "length": LENGTH, "hop": HOP}


def write_windows(out: Path) -> None:
    """The folders that the recipe names: series of numbers (100, 6), which ``bundle build`` cuts into windows."""
    train_x, _ = read_series("TRAIN")
    test_x, test_y = read_series("TEST")
    for name in ("golden", "calibration", "labelled"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    mixed = np.random.default_rng(0).permutation(len(train_x))  # as at a site, not one motion after the other
    for number, series in enumerate(train_x[mixed]):
        np.save(out / "calibration" / f"{number:02}.npy", series)
    for number in np.linspace(0, len(test_x) - 1, _GOLDEN).astype(int):
        np.save(out / "golden" / f"{number:02}.npy", test_x[number, :LENGTH])
    for number, (series, motion) in enumerate(zip(test_x, test_y, strict=True)):
        folder = out / "labelled" / MOTIONS[motion]
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{number:02}.npy", series)


def build_all(out: Path) -> list[Built]:
    """Train, save, and build the bundles of :data:`BUNDLES` in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    write_windows(out)
    torch.save(train(), out / "vibration.pt")
    for path in (RECIPE, RECIPE.with_name("box.yaml"), Path(__file__)):  # the last one has the factory
        shutil.copy(path, out)
    return [build_from_recipe(out / RECIPE.name, out / "bundles", changes) for changes in BUNDLES]


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
def main(out: Path) -> None:
    """Train the net and build its bundles into OUT/bundles/vibration/."""
    for built in build_all(out):
        click.echo(f"{built.path}: {built.candidates[built.format]}")
        for note in built.notes:
            click.echo(f"  note: {note}")


if __name__ == "__main__":
    main()
