"""Simulated camera drifts: what years do to a lens, a sensor or a light, on demand and repeatable.

Pure functions on one picture: no clock, no I/O, no state. A caller owns the generator: one seed gives one set of
pictures.

Severity runs from 0 (the picture as it is, bit for bit) to 1 (costs a good classifier 5 to 40 points).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]
Drift = Callable[[Floats, float, np.random.Generator], Floats]

REFERENCE_SIDE = 224
"""Blur widths hold for this shorter side and grow with larger pictures: defocus is a share of the view."""


def apply(name: str, pixels_rgb: Picture, severity: float, rng: np.random.Generator) -> Picture:
    """The picture as the camera would deliver it after the drift: uint8 (H,W,3), RGB; a new array.

    Values are rounded and clipped like a sensor's. Two equal generators give two equal pictures. A severity of 0
    changes nothing, 1 is the full strength.

    Raises:
        ValueError: no drift has this name; the picture is not uint8 (H,W,3), or the severity is outside 0..1.
    """
    if name not in DRIFTS:
        raise ValueError(f"unknown camera drift {name!r}; expected one of: {', '.join(sorted(DRIFTS))}")
    if not 0.0 <= severity <= 1.0:
        raise ValueError(f"severity of camera drift {name!r} is {severity}; expected 0..1")
    if pixels_rgb.dtype != np.uint8 or pixels_rgb.ndim != 3 or pixels_rgb.shape[2] != 3:
        raise ValueError(
            f"picture is {pixels_rgb.dtype} {pixels_rgb.shape}; expected uint8 (height, width, 3)"
        )
    if severity == 0.0 or pixels_rgb.size == 0:
        return pixels_rgb.copy()
    drifted = DRIFTS[name](pixels_rgb.astype(np.float64), severity, rng)
    return np.clip(np.rint(drifted), 0, 255).astype(np.uint8)


def _toward(full: float, severity: float, neutral: float = 1.0) -> float:
    """A factor between ``neutral`` (severity 0) and ``full`` (severity 1)."""
    return neutral + (full - neutral) * severity


def _normal(x: Floats, sigma: float, rng: np.random.Generator) -> Floats:
    return rng.normal(0.0, sigma, x.shape)


def _width(x: Floats, pixels: float) -> float:
    shorter: int = min(x.shape[0], x.shape[1])
    return pixels * max(1.0, shorter / REFERENCE_SIDE)


def _tint(x: Floats, s: float, _: np.random.Generator) -> Floats:
    gain = np.array([_toward(0.5, s), _toward(0.8, s), _toward(1.1, s)])
    offset = np.array([0.0, 10.0, 40.0])
    return np.asarray(x * gain + offset * s, np.float64)


def _grey(x: Floats, s: float, rng: np.random.Generator) -> Floats:
    infrared = 0.6 * x.mean(axis=2, keepdims=True) + 60
    return np.asarray((1 - s) * x + s * infrared + _normal(x, 15 * s, rng), np.float64)


def _vignette(x: Floats, s: float, _: np.random.Generator) -> Floats:
    rows, columns = np.linspace(-1, 1, x.shape[0]), np.linspace(-1, 1, x.shape[1])
    radius_squared = (rows[:, None] ** 2 + columns[None, :] ** 2) / 2
    return np.asarray(x * (1 - 0.85 * s * radius_squared)[:, :, None], np.float64)


def _jpeg(x: Floats, s: float, _: np.random.Generator) -> Floats:
    quality = round(_toward(5, s, neutral=95))
    pixels = np.clip(np.rint(x), 0, 255).astype(np.uint8)
    _ok, coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_UNCHANGED), np.float64)


def _defocus(x: Floats, s: float, _: np.random.Generator) -> Floats:
    radius = _width(x, 5 * s)
    reach = int(np.ceil(radius))
    offsets = np.arange(-reach, reach + 1)
    distance = np.hypot(offsets[:, None], offsets[None, :])
    disc = np.clip(radius + 0.5 - distance, 0, 1)  # soft rim: severity changes the picture smoothly
    return np.asarray(cv2.filter2D(x, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101), np.float64)


DRIFTS: Mapping[str, Drift] = MappingProxyType(
    {
        # Fogged or dirty lens.
        "contrast": lambda x, s, _: (x - 128) * _toward(0.3, s) + 128,
        # Low sun, flare.
        "bright": lambda x, s, _: x * _toward(0.6, s) + 100 * s,
        # Lamp failed.
        "dark": lambda x, s, rng: x * _toward(0.2, s) + _normal(x, 6 * s, rng),
        # Gain turned up.
        "noise": lambda x, s, rng: x + _normal(x, 40 * s, rng),
        # Lens out of focus (Gaussian).
        "blur": lambda x, s, _: np.asarray(cv2.GaussianBlur(x, (0, 0), _width(x, 3 * s)), np.float64),
        "tint": _tint,  # white balance lost
        # Steam, smoke.
        "haze": lambda x, s, _: x * _toward(0.35, s) + np.array([150.0, 155.0, 160.0]) * s,
        "grey": _grey,  # infrared mode at night
        "vignette": _vignette,  # hood moved in front of the lens
        "jpeg": _jpeg,  # encoder short of bandwidth
        "defocus": _defocus,  # lens out of focus (disc)
        # Shutter too long; ramp the severity for a slow change.
        "exposure": lambda x, s, _: x * 2.0 ** (1.5 * s),
        # Wrong tone curve after a firmware update.
        "gamma": lambda x, s, _: 255 * (x / 255) ** (1 + 1.5 * s),
    }
)
