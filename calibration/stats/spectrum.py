"""The power spectrum of windows, in octaves. Pure numpy."""

import numpy as np
from numpy.typing import NDArray

MOST_OCTAVES = 6
LEAST_LINES = 2
"""Lines of the spectrum in the lowest octave that is measured by itself."""


def spectrum(x: NDArray[np.floating]) -> NDArray[np.complex128]:
    """The lines of the spectrum of ``x`` (..., T): (..., T // 2 + 1), without the level.

    Under a Hann window, so that strong low notes do not hide weak high ones. White noise of variance 1 has a mean
    square of 1 a line.
    """
    wide = x.astype(np.float64)
    window = np.hanning(x.shape[-1] + 2)[1:-1]
    lines = np.fft.rfft((wide - wide.mean(axis=-1, keepdims=True)) * window, axis=-1)
    return np.asarray(lines / np.sqrt((window**2).sum()), np.complex128)


def power(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """The square of each line of :func:`spectrum`."""
    return squares(spectrum(x))


def squares(lines: NDArray[np.complex128]) -> NDArray[np.float64]:
    """The power of each line."""
    return np.asarray(lines.real**2 + lines.imag**2, np.float64)


def octaves(length: int) -> list[slice]:
    """The lines of each octave of windows of so many values, the highest first.

    The lowest one holds all that is left, but for the level.
    """
    top = length // 2 + 1
    found = list[slice]()
    while len(found) < MOST_OCTAVES - 1 and top // 2 >= LEAST_LINES + 1:
        found.append(slice(top // 2, top))
        top //= 2
    return [*found, slice(1, top)]


def octave_power(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """The mean power a line of each octave of ``x`` (..., T): (..., octaves), the highest first."""
    lines, parts = power(x), octaves(x.shape[-1])
    return np.stack([lines[..., part].mean(axis=-1) for part in parts], axis=-1)
