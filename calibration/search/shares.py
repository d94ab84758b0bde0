"""Who does what: which frames of the reference are observed and judged on, which healthy samples teach and judge."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import HealthySamples
from calibration.search.options import Options
from calibration.stats.sampling import MOST_SAMPLES, samples_to_keep, spread_over, teach_and_judge
from calibration.stats.signal_features import is_vector

_NONE = np.empty(0, np.intp)


MOST_OBSERVED = 48
"""Frames; more than these judge better."""


def frames_to_observe(shape: tuple[int, ...], options: Options) -> int:
    """How many frames (C, ...) of the reference moments are taken of.

    A frame has thousands of values a channel, a vector of features one: 48 of them do not tell a gain from other
    content. With 256 in place of 48, eight patched regressions had .17 of the squared error in the median.
    """
    return options.most_observed or (MOST_SAMPLES if is_vector(shape) else MOST_OBSERVED)


@dataclass(frozen=True, slots=True)
class Split:
    """The usable frames of the reference; they are copied out when they are needed."""

    observed: NDArray[np.intp]
    judged: NDArray[np.intp]
    labels: NDArray[np.int64] | None
    """Classes of the judged frames."""


@dataclass(frozen=True, slots=True)
class Halves:
    """The healthy samples of a baseline; none does both. They are copied out when they are needed."""

    _kept: HealthySamples | None
    _teaching: NDArray[np.intp]
    _judging: NDArray[np.intp]
    _most: int
    """Of a half."""

    @classmethod
    def of(cls, kept: HealthySamples | None, shape: tuple[int, ...], options: Options) -> "Halves":
        """Both are empty where no drift can be simulated for frames of ``shape`` (C, ...).

        Known patches were taught by one half, so that the halves are kept apart for them too.
        """
        values = int(np.prod(shape))
        most = options.most_healthy_samples or samples_to_keep(values) // 2
        if kept is None or kept.answers is None or len(shape) > 3:
            return cls(None, _NONE, _NONE, most)
        if not options.distillation.steps and not options.known:
            return cls(kept, _NONE, np.arange(len(kept)), most)
        return cls(kept, *teach_and_judge(len(kept), options.distillation.fewest_frames), most)

    @property
    def can_judge(self) -> bool:
        """Whether there are samples that judge."""
        return len(self._judging) > 0

    @property
    def can_teach(self) -> bool:
        """Whether there are samples to distil from."""
        return len(self._teaching) > 0

    def teachers(self) -> HealthySamples | None:
        """As many as are wanted to distil from; None: there are none."""
        return self._some(self._teaching)

    def judges(self) -> HealthySamples | None:
        """As many as are wanted to judge on; None: there are none."""
        return self._some(self._judging)

    def _some(self, half: NDArray[np.intp]) -> HealthySamples | None:
        if self._kept is None or not len(half):
            return None
        return self._kept.only(half[spread_over(len(half), self._most)])
