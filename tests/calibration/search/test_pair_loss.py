"""The loss over pairs: what a detector's heads and feature maps weigh against each other at the start."""

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.patch import Affine
from calibration.search.pair_loss import PairLoss, Pairs
from calibration.search.simulation.camera import SimulatedFrames
from calibration.search.simulation.noise import Noise
from calibration.targets.base import Aim, Batch, Gradients, NoDerivative, Slope

HEADS = {"small": lambda x: 0.2 * x, "large": lambda x: 9 * x - 6}
MAPS = {"linear": lambda x: 0.01 * x, "bounded": np.tanh}


class Detector(Gradients):
    """Maps and heads are functions of every pixel alone; slopes are not asked for."""

    def __init__(self, *, with_heads: bool = True) -> None:
        self.batch, self.problems, self.taps = 2, (), ()
        self.tensors = MAPS | (HEADS if with_heads else {})
        self.aims = tuple(Aim(name, "sigmoid" if name in HEADS else "squares") for name in self.tensors)

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        return {name: np.asarray(function(x), np.float32) for name, function in self.tensors.items()}

    def step(
        self,
        x: Batch,
        affines: Mapping[str, Affine],
        targets: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, NDArray[np.float32]],
    ) -> tuple[dict[str, float], dict[str, Slope]]:
        losses = {}
        for name, y in self.run(x).items():
            each = (y - targets[name]) ** 2 / 2 if name in MAPS else np.logaddexp(0, y) - targets[name] * y
            losses[name] = float((weights[name] * each).sum())
        return losses, {}


X = np.random.default_rng(0).normal(size=(6, 3, 4, 4)).astype(np.float32)


def loss_of(gradients: Gradients, answers: Mapping[str, NDArray[np.float32]] | None = None) -> PairLoss:
    level = Noise(np.zeros(1, np.float32), np.zeros(1, np.float32), 0.0, np.empty(0, np.float32))
    limit = np.full((1, 3, 1, 1), 99, np.float32)
    still = SimulatedFrames(1.5 * X + 0.2, (level,) * 3, -limit, limit)
    return PairLoss(gradients, Pairs(X, still, answers or {}), 5.0, np.random.default_rng(1))


def mean_losses(loss: PairLoss) -> dict[str, float]:
    found = [loss.step({})[0] for _ in range(3)]  # every pair once
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def test_maps_begin_with_the_same_loss_and_the_heads_with_three_times_as_much():
    loss = loss_of(Detector())
    before = mean_losses(loss)
    assert before["linear"] > 1.2 * before["bounded"]
    loss.balance({}, 3, 3.0)
    after = mean_losses(loss)
    assert after["linear"] == pytest.approx(after["bounded"], rel=1e-3)
    factor = after["large"] / before["large"]
    assert after["small"] == pytest.approx(factor * before["small"], rel=1e-3)
    answers = 1 / (1 + np.exp(-np.stack([head(X.astype(np.float64)) for head in HEADS.values()])))
    entropy = -(answers * np.log(answers) + (1 - answers) * np.log1p(-answers)).sum() / len(X)
    divergence = factor * (before["large"] + before["small"] - entropy)
    assert divergence == pytest.approx(3 * (after["linear"] + after["bounded"]), rel=0.02)


def test_without_heads_nothing_is_balanced():
    loss = loss_of(Detector(with_heads=False))
    before = mean_losses(loss)
    loss.balance({}, 3, 3.0)
    assert mean_losses(loss) == pytest.approx(before, rel=1e-5)


class InRows(Detector):
    """The same with a row for every pixel of a frame, as a layer has it that works on a folded batch."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        return {name: np.moveaxis(y, 1, -1).reshape(-1, x.shape[1]) for name, y in super().run(x).items()}


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_frame_may_have_several_rows(batch):
    """Compared with those of its own healthy double, whatever else is in the batch."""
    usual = Detector()
    usual.batch = batch
    in_rows, in_maps = loss_of(InRows(batch)), loss_of(usual)
    assert mean_losses(in_rows) == pytest.approx(mean_losses(in_maps), rel=1e-4)
    in_rows.balance({}, 3, 3.0)
    in_maps.balance({}, 3, 3.0)
    assert mean_losses(in_rows) == pytest.approx(mean_losses(in_maps), rel=1e-4)


class Together(Detector):
    """Gives one row for all frames."""

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        return {name: y.mean(axis=0, keepdims=True) for name, y in super().run(x).items()}


def test_what_has_no_rows_of_its_own_for_a_frame_cannot_be_compared():
    with pytest.raises(NoDerivative, match="linear"):
        loss_of(Together())


class Meter(Gradients):
    """Two numbers a sample: the mean, and one that is always the same but for rounding."""

    def __init__(self) -> None:
        self.batch, self.problems, self.taps, self.aims = 2, (), (), (Aim("y", "squares"),)

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        means = x.mean(axis=(1, 2, 3))
        return {"y": np.stack([means, 48 + 1e-5 * means], axis=1).astype(np.float32)}

    def step(
        self,
        x: Batch,
        affines: Mapping[str, Affine],
        targets: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, NDArray[np.float32]],
    ) -> tuple[dict[str, float], dict[str, Slope]]:
        each = weights["y"] * (self.run(x)["y"] - targets["y"]) ** 2 / 2
        return {"y": float(each[:, 0].sum()), "rounding": float(each[:, 1].sum())}, {}


def test_a_number_that_never_changes_teaches_nothing():
    found = mean_losses(loss_of(Meter(), Meter().run(X)))
    assert found["y"] > 0
    assert found["rounding"] == 0
