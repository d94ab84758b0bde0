"""The input of a model: converts samples, float32 (N, C, ...), to its layout and type.

No framework is imported here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUTS = "one input (N, C, H, W) or (N, H, W, C), float32, float16 or uint8"
"""The inputs that are accepted, for messages."""

_PICTURE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class ModelInput:
    """Name, shape, layout and type of the one input."""

    name: str
    shape: tuple[int | None, ...]
    """(N or None, C, ...): channels second, whatever the model's own layout."""
    channel_axis: int
    dtype: np.dtype[Any]
    """float32, float16, or uint8 (the samples are 0..255 then)."""

    def describe(self) -> dict[str, Any]:
        """Name, shape, layout and type, for people."""
        layout = f"channels on axis {self.channel_axis}"
        if len(self.shape) == 4:
            layout = {1: "NCHW", 3: "NHWC"}.get(self.channel_axis, layout)
        return {"name": self.name, "shape": list(self.shape), "layout": layout, "dtype": self.dtype.name}

    def convert(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """``x`` (N, C, ...) in the model's own layout and type; uint8 is rounded and kept within 0..255."""
        moved = np.moveaxis(x, 1, self.channel_axis)
        if self.dtype == np.uint8:
            moved = np.clip(np.rint(moved), 0, 255)
        return np.ascontiguousarray(moved, self.dtype)

    def make_noise(self, count: int) -> NDArray[np.float32]:
        """``count`` noise samples of growing mean and spread: they show whether a model mixes frames."""
        shape = [n or 64 for n in self.shape[1:]]
        noise = np.random.default_rng(0).normal(0, 0.3, (count, *shape))
        step = np.linspace(-1, 1, count).reshape(-1, *[1] * len(shape))
        x = noise * (1 + 0.7 * step) + 0.5 * step
        return np.asarray(128 + 80 * x if self.dtype == np.uint8 else x, np.float32)


def move_channels_second(dims: Sequence[int | None], axis: int) -> tuple[int | None, ...]:
    """Sizes (N, ...) of an input whose channels lie on ``axis``, with the channels second."""
    return (dims[0], dims[axis], *(size for i, size in enumerate(dims) if i not in (0, axis)))


def guess_channel_axis(dims: Sequence[int | None]) -> int:
    """The channel axis that the sizes suggest: the last one only if no other fits."""
    last_fits = len(dims) == 4 and dims[3] in _PICTURE_CHANNELS
    return 3 if last_fits and dims[1] not in _PICTURE_CHANNELS else 1
