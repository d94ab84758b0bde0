"""What a camera does to a picture that channel moments do not show: where the light falls, how fine the detail is.

Channel moments forget positions, so a vignette or a half-covered lens hides in them; and they mix all widths, so that
compression hides. Two cheap measurements of the prepared input fill the gap, both as moments of single frames
under separate names, so that the drift monitor treats them like taps:

``input/grid``: mean and variance of the brightness in each cell of a 4x4 grid (vignette, a covered corner).
``input/detail``: mean and variance of the absolute Haar details (Mallat 1989) of the brightness: horizontal, vertical
and diagonal, at three widths.
``input/quiet``: energy of the details in the quietest parts of the picture. Edges are content, but between them a
sensor leaves its noise and the lens its grain: blur, defocus and compression take that away, gain adds to it.
Measured on cut-outs: slight blur stands out 1.8 times as far as 99 % of the windows with two unknown objects, in
``detail`` 0.4 times.

Pure numpy; under 2 ms for 3x224x224.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.stats.moments import INPUT_TAP, MeanVar

Plane = NDArray[np.float32]

GRID_TAP, DETAIL_TAP, QUIET_TAP = f"{INPUT_TAP}/grid", f"{INPUT_TAP}/detail", f"{INPUT_TAP}/quiet"
CELLS = 4
"""Cells per side."""
WIDTHS = 3
"""Halvings of the resolution at which detail is measured."""
QUIET_WIDTHS = 2
BLOCK = 4
"""Side of the parts that are called quiet or not, in details: 8 pixels at the finest width."""
QUIET_SHARES = (0.1, 0.3, 0.5)
LEAST_ENERGY = 1e-5
"""Of the picture's variance: rounding to 8 bits leaves about this much, and less than that says nothing."""
LEAST_SIDE = 2**QUIET_WIDTHS * BLOCK
"""Smaller pictures have no place and no detail worth measuring."""


def has_picture_features(shape: Sequence[int]) -> bool:
    """Whether a sample (C, ...) is a picture that is large enough."""
    return len(shape) == 3 and min(shape[1:]) >= LEAST_SIDE


def picture_features(sample: NDArray[np.float32]) -> dict[str, MeanVar]:
    """The measurements of one prepared picture (C, H, W): name -> (mean (K,), var (K,)), float64."""
    plane = sample.mean(axis=0, dtype=np.float32)
    least = LEAST_ENERGY * float(plane.var(dtype=np.float64))
    grid, moments, quiet = _grid(plane), [], []
    for width in range(WIDTHS):
        details = _details(plane)
        moments.append(_moments(details))
        if width < QUIET_WIDTHS:
            quiet += _quiet(details, least)
        plane = _halve(plane)
    means, variances = zip(*moments, strict=True)
    energy = np.array(quiet)
    return {
        GRID_TAP: grid,
        DETAIL_TAP: (np.concatenate(means), np.concatenate(variances)),
        QUIET_TAP: (np.zeros_like(energy), energy),
    }


def _grid(plane: Plane) -> MeanVar:
    """Of every cell, row by row; rows and columns that do not fill a cell are left out."""
    height, width = (side // CELLS for side in plane.shape)
    cells = plane[: height * CELLS, : width * CELLS].reshape(CELLS, height, CELLS, width)
    mean = cells.mean(axis=(1, 3))
    var = (cells * cells).mean(axis=(1, 3)) - mean * mean
    return mean.ravel().astype(np.float64), np.maximum(var, 0).ravel().astype(np.float64)


def _corners(plane: Plane) -> tuple[Plane, Plane, Plane, Plane]:
    even = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
    return even[::2, ::2], even[::2, 1::2], even[1::2, ::2], even[1::2, 1::2]


def _halve(plane: Plane) -> Plane:
    a, b, c, d = _corners(plane)
    return (a + b + c + d) * np.float32(0.25)


def _details(plane: Plane) -> tuple[Plane, Plane, Plane]:
    """Haar details at half the resolution: horizontal, vertical, diagonal."""
    a, b, c, d = _corners(plane)
    return a + c - b - d, a + b - c - d, a + d - b - c


def _moments(details: tuple[Plane, Plane, Plane]) -> MeanVar:
    means = np.array([float(np.abs(part).mean()) for part in details])
    squares = np.array([float((part * part).mean()) for part in details])
    return means, np.maximum(squares - means * means, 0.0)


def _quiet(details: tuple[Plane, Plane, Plane], least: float) -> list[float]:
    """Energy below which a tenth, three tenths and half of the parts lie: of straight and of diagonal details."""
    across, down, diagonal = details
    found: list[float] = []
    for energy in (across * across + down * down, diagonal * diagonal):
        parts = _halve(_halve(energy))  # the mean of every 4x4 block
        found += [float(level) + least for level in np.quantile(parts, QUIET_SHARES)]
    return found
