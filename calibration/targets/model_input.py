"""The input of a model: converts samples, float32 (N, C, ...), to its layout and type.

No framework is imported here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.targets.base import InputLayout

INPUTS = "one input (N, C, H, W), (N, H, W, C), (N, C, T), (N, T, C) or (N, F), float32, float16 or uint8"
"""The inputs that are accepted, for messages."""

CHANNEL_AXES: dict[InputLayout, int] = {"nchw": 1, "nhwc": 3, "nct": 1, "ntc": 2, "nf": 1}
"""Where the channels lie in each layout."""

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
        layout = name_layout(len(self.shape), self.channel_axis)
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

    @property
    def own_shape(self) -> tuple[int | None, ...]:
        """(N or None, ...) in the model's own layout."""
        sizes = [*self.shape[:1], *self.shape[2:]]
        sizes.insert(self.channel_axis, self.shape[1])
        return tuple(sizes)

    def with_channels_on(self, axis: int) -> "ModelInput":
        """The same input, its channels on another axis of the model's own layout."""
        return ModelInput(self.name, move_channels_second(self.own_shape, axis), axis, self.dtype)


def name_layout(rank: int, axis: int) -> str:
    """The layout of so many axes with the channels on ``axis``, for people."""
    names = (name.upper() for name, at in CHANNEL_AXES.items() if (len(name), at) == (rank, axis))
    return next(names, f"channels on axis {axis}")


def move_channels_second(dims: Sequence[int | None], axis: int) -> tuple[int | None, ...]:
    """Sizes (N, ...) of an input whose channels lie on ``axis``, with the channels second."""
    return (dims[0], dims[axis], *(size for i, size in enumerate(dims) if i not in (0, axis)))


def require_channels(model: str, found: ModelInput, fix: str) -> None:
    """Raise ModelError unless the input has an axis of channels of a known size."""
    if len(found.shape) < 2 or found.shape[1] is None:
        shape = f"input {found.name!r} has shape {found.shape}, channels second"
        raise ModelError(model, shape, f"{INPUTS} with a known C", fix)


def choose_channel_axis(
    model: str, dims: Sequence[int | None], layout: InputLayout | None, trace: Callable[[], int | None]
) -> int:
    """Where the channels of an input lie: as it is told, else as its sizes or its first layer say.

    Args:
        model: For messages.
        dims: Sizes (N, ...) in the model's own layout, None for one that is open.
        layout: As the caller says it; None leaves it to the model.
        trace: Gives the axis that the first layer takes its channels from, None where that is not known. A picture
            of 1, 3 or 4 channels is not asked for it.

    Raises:
        ModelError: the layout is of another number of axes.
    """
    if layout is not None:
        return read_layout(model, layout, len(dims))
    axis = _guess_by_sizes(dims)
    if axis is None:
        axis = trace()
    return guess_channel_axis(dims) if axis is None else axis


def read_layout(model: str, layout: InputLayout, rank: int | None) -> int:
    """The channel axis of a layout for an input of so many axes (None: not known).

    Raises:
        ModelError: no such layout, or of another number of axes.
    """
    fix = f"Say one of {', '.join(CHANNEL_AXES)}, or leave it to the model."
    if layout not in CHANNEL_AXES or rank not in (None, len(layout)):
        raise ModelError(model, f"layout {layout!r} for an input of {rank} axes", "a layout that fits", fix)
    return CHANNEL_AXES[layout]


def guess_channel_axis(dims: Sequence[int | None]) -> int:
    """The channel axis that the sizes alone suggest; of a window the shorter axis, or the one whose size is known."""
    if len(dims) == 3 and dims[2] is not None:
        return 2 if dims[1] is None or dims[2] < dims[1] else 1
    return _guess_by_sizes(dims) or 1


def _guess_by_sizes(dims: Sequence[int | None]) -> int | None:
    """The channel axis of an input whose sizes leave no doubt; else None."""
    if len(dims) == 2:
        return 1
    fitting = [axis for axis in (1, 3) if len(dims) == 4 and dims[axis] in _PICTURE_CHANNELS]
    return fitting[0] if len(fitting) == 1 else None
