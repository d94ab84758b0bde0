"""How far a corrected model is from the healthy one: the loss over pairs of a healthy frame and its drifted double."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.values import Numbers
from calibration.patch import Affine
from calibration.search.simulation.model import Simulation
from calibration.targets.base import Batch, Gradients, NoDerivative, Slope

Answers = Mapping[str, NDArray[np.float32]]
Losses = dict[str, float]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Healthy frames, drawn under the drift several times, and the healthy answers.

    Attributes:
        healthy: float32 (M, C, ...).
        simulated: The same frames under the simulated drift; every draw has other noise.
        answers: By the name of an aim: what it is compared with, float32 (M, ...), or (M * R, ...) where a frame has R
            rows. Feature maps and the heads of a detector are compared with what the healthy model makes of the healthy
            frames.
    """

    healthy: Batch
    simulated: Simulation
    answers: Answers


class PairLoss:
    """The losses of all aims on random pairs, and their slopes."""

    def __init__(
        self, gradients: Gradients, pairs: Pairs, feature_weight: float, rng: np.random.Generator
    ) -> None:
        """Run the unpatched model on the healthy frames.

        Args:
            gradients: Of the unpatched model.
            pairs: What is compared.
            feature_weight: Of the feature maps together against the answers.
            rng: Draws the pairs, and their noise.

        Raises:
            NoDerivative: a tensor has no rows of its own for each frame of a batch.
        """
        self._gradients, self._pairs, self._rng = gradients, pairs, rng
        self._order = _draws(len(pairs.healthy), gradients.batch, rng)
        self._maps = [
            aim.name for aim in gradients.aims if aim.name not in pairs.answers and aim.kind == "squares"
        ]
        self._heads = [
            aim.name for aim in gradients.aims if aim.name not in pairs.answers and aim.kind == "sigmoid"
        ]
        self._targets: dict[str, NDArray[np.floating]] = {**pairs.answers, **self._run()}
        once = np.asarray(1 / gradients.batch, np.float32)
        self._weights = {aim.name: once for aim in gradients.aims}
        """They make a loss a mean over the frames of a batch."""
        numbers = [aim.name for aim in gradients.aims if aim.name in pairs.answers and aim.kind == "squares"]
        for name in numbers:
            values = self._targets[name].reshape(len(self._targets[name]), -1)
            spread, varies = Numbers(values.astype(np.float64)).measure_spread()
            usual = np.where(varies, spread, np.inf)  # one that is always the same teaches nothing
            weight = 2 / (values.shape[1] * gradients.batch * usual**2)
            self._weights[name] = weight.reshape(1, *self._targets[name].shape[1:]).astype(np.float32)
        for name in self._maps:
            values = self._targets[name]
            of_a_frame = values.size // len(pairs.healthy)
            share = 2 * feature_weight / (len(self._maps) * gradients.batch * of_a_frame)
            self._weights[name] = np.asarray(share / _usual(values), np.float32)

    def balance(self, affines: Mapping[str, Affine], batches: int, head_weight: float) -> None:
        """Give the aims of a detector weights by what they lose now; nothing where classes are compared.

        Its heads come in sizes from one cell to thousands, and most of what they say is about nothing. So every
        feature map begins with the same loss, and all heads together with ``head_weight`` times that of all maps.

        Args:
            affines: By tap: where the way begins.
            batches: To measure on.
            head_weight: Of the heads.
        """
        if not self._heads:
            return
        losses = dict.fromkeys(self._weights, 0.0)
        for _ in range(batches):
            for name, loss in self.step(affines)[0].items():
                losses[name] += loss / batches
        least = _LEAST_SHARE * max(losses.values())
        mean = float(np.mean([losses[name] for name in self._maps])) if self._maps else 1.0
        for name in self._maps:
            self._weights[name] = self._weights[name] * np.float32(mean / max(losses[name], least))
        # The entropy of the healthy answers is no loss: none can be less.
        frames = len(self._pairs.healthy)
        left = sum(losses[name] - _entropy(self._targets[name], frames) for name in self._heads)
        factor = head_weight * mean * max(1, len(self._maps)) / max(left, least)
        for name in self._heads:
            self._weights[name] = self._weights[name] * np.float32(factor)

    def step(self, affines: Mapping[str, Affine]) -> tuple[Losses, dict[str, Slope]]:
        """Losses and slopes on the next batch of pairs; see :meth:`calibration.targets.base.Gradients.step`."""
        return self.compare([affines])[0]

    def compare(self, several: Sequence[Mapping[str, Affine]]) -> list[tuple[Losses, dict[str, Slope]]]:
        """The same of several patches, on the same pairs."""
        frames = next(self._order)
        given = {name: self._of(frames, target) for name, target in self._targets.items()}
        x = self._pairs.simulated.draw(self._rng, frames)
        return [self._gradients.step(x, affines, given, self._weights) for affines in several]

    def _of(self, frames: NDArray[np.intp], target: NDArray[np.floating]) -> NDArray[np.float32]:
        """The rows of these frames, float32."""
        each = np.arange(len(target) // len(self._pairs.healthy))
        return np.asarray(target[(frames[:, None] * len(each) + each).ravel()], np.float32)

    def _run(self) -> dict[str, NDArray[np.floating]]:
        """What the healthy model makes of the healthy frames, of maps and heads."""
        healthy, batch = self._pairs.healthy, self._gradients.batch
        parts: dict[str, list[NDArray[np.floating]]] = {name: [] for name in (*self._maps, *self._heads)}
        for first in range(0, len(healthy), batch):
            found = self._gradients.run(healthy[np.arange(first, first + batch) % len(healthy)])
            if together := [name for name in parts if not len(found[name]) or len(found[name]) % batch]:
                raise NoDerivative(f"{together[0]}, which has no rows for each frame")
            for name in self._maps:
                parts[name].append(_in_little_room(found[name]))
            for name in self._heads:
                parts[name].append(_in_little_room(_sigmoid(found[name])))
        rows = {name: len(values[0]) // batch for name, values in parts.items()}
        return {name: np.concatenate(parts[name])[: rows[name] * len(healthy)] for name in parts}


_LEAST_SHARE = 1e-3
"""Of the largest loss: an aim that loses less is not lifted to the others."""


def _usual(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """The variance of every channel, axis 1, frame by frame: float32 copies of all of them would take too much room.

    A channel that hardly varies counts a thousandth of the others.
    """
    over = tuple(axis for axis in range(1, values.ndim) if axis != 1)
    mean = np.mean([one[None].mean(axis=over, keepdims=True, dtype=np.float64) for one in values], axis=0)
    var = np.mean(
        [np.square(one[None] - mean).mean(axis=over, keepdims=True, dtype=np.float64) for one in values],
        axis=0,
    )
    return np.asarray(var + 1e-3 * float(var.mean()) + np.finfo(np.float32).tiny, np.float32)


def _entropy(probabilities: NDArray[np.floating], frames: int) -> float:
    """Of independent labels, in nats: the mean over frames of the sum over all of them."""
    p = np.clip(probabilities.astype(np.float64), 1e-9, 1 - 1e-9)
    return float(-(p * np.log(p) + (1 - p) * np.log1p(-p)).sum() / frames)


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))), np.float32)


def _in_little_room(values: NDArray[np.float32]) -> NDArray[np.floating]:
    """In half the memory, where that holds them."""
    fits = np.abs(values).max(initial=0) < np.finfo(np.float16).max
    return values.astype(np.float16) if fits else values


def _draws(frames: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Without end, ``batch`` frames: all of them once before one comes again."""
    left = np.empty(0, np.intp)
    while True:
        while len(left) < batch:
            left = np.concatenate([left, rng.permutation(frames)])
        yield left[:batch]
        left = left[batch:]
