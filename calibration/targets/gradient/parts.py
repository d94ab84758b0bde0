"""Derivatives of a batch that is taken part by part: losses and slopes add up, and memory is that of a part."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.patch import Affine
from calibration.targets.base import Batch, Gradients, Slope

PART_VALUES = 2 * 3 * 224 * 224
"""Of the samples of a part, unless one is larger. Twice as many take 1.6 times the memory of Lite0."""

Arrays = Mapping[str, NDArray[np.float32]]


def in_parts(build: Callable[[Batch], Gradients], x: Batch) -> Gradients:
    """Derivatives for batches like ``x`` (N, C, ...) of a model that takes any number of frames.

    Args:
        build: Makes those for batches like the one it is given.
        x: float32.

    Raises:
        What ``build`` does.
    """
    frames = find_part(x)
    return build(x) if frames == len(x) else PartedGradients(build(x[:frames]), len(x))


def find_part(x: Batch) -> int:
    """Frames of a part: the most that divide the batch (N, C, ...) and have ``PART_VALUES`` together; one at least."""
    fitting = (n for n in range(2, len(x) + 1) if len(x) % n == 0 and n * x[0].size <= PART_VALUES)
    return max(fitting, default=1)


class PartedGradients(Gradients):
    """The derivatives of batches, by those of their parts."""

    def __init__(self, part: Gradients, batch: int) -> None:
        """``batch`` is a multiple of ``part.batch``."""
        self._part, self.batch = part, batch
        self.aims, self.taps, self.problems = part.aims, part.taps, part.problems

    def run(self, x: Batch) -> dict[str, NDArray[np.float32]]:
        """Of the parts, joined."""
        found = [self._part.run(x[rows]) for rows in self._rows(len(x))]
        return {aim.name: np.concatenate([part[aim.name] for part in found]) for aim in self.aims}

    def step(
        self, x: Batch, affines: Mapping[str, Affine], targets: Arrays, weights: Arrays
    ) -> tuple[dict[str, float], dict[str, Slope]]:
        """The sums over the parts."""
        losses, slopes = dict.fromkeys((aim.name for aim in self.aims), 0.0), dict[str, Slope]()
        for number, rows in enumerate(self._rows(len(x))):
            own = {name: self._cut(target, number) for name, target in targets.items()}
            weight = {
                name: self._cut(value, number)
                if value.ndim == targets[name].ndim and len(value) > 1
                else value
                for name, value in weights.items()
            }
            found, more = self._part.step(x[rows], affines, own, weight)
            losses = {name: loss + found[name] for name, loss in losses.items()}
            slopes = {tap: _sum(slopes.get(tap), slope) for tap, slope in more.items()}
        return losses, slopes

    def _rows(self, frames: int) -> Sequence[slice]:
        size = self._part.batch
        return [slice(first, first + size) for first in range(0, frames, size)]

    def _cut(self, value: NDArray[np.float32], number: int) -> NDArray[np.float32]:
        """The rows of a part: a frame may have several."""
        rows = len(value) * self._part.batch // self.batch
        return value[number * rows : (number + 1) * rows]


def _sum(before: Slope | None, slope: Slope) -> Slope:
    return slope if before is None else Slope(before.scale + slope.scale, before.offset + slope.offset)
