"""Frame -> sample, exactly as the bundle says: the one code path for live, golden and reference pictures.

A picture that cannot be used becomes a ``Rejected`` value with its reason; nothing here raises for bad input.
"""

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Frame, Geometry, Rejected, RejectReason, Sample
from edge_runtime.inference.preprocess.decode import (
    PictureLimits,
    Upright,
    check_size,
    decode,
    read_file,
    to_uint8,
)
from edge_runtime.inference.preprocess.geometry import fit
from edge_runtime.inference.preprocess.headers import PictureFlaw
from edge_runtime.inference.preprocess.tensors import Normaliser, check_tensor
from edge_runtime.inference.specs import Colour, PreprocessSpec

_RECOLOUR: dict[tuple[Colour, Colour], int] = {
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "grey"): cv2.COLOR_RGB2GRAY,
    ("bgr", "grey"): cv2.COLOR_BGR2GRAY,
    ("grey", "rgb"): cv2.COLOR_GRAY2RGB,
    ("grey", "bgr"): cv2.COLOR_GRAY2BGR,
}

_LIMITS = PictureLimits()


class Preprocessor:
    """Prepares frames for one model. Holds no state between frames; callable from several threads at once."""

    def __init__(self, spec: PreprocessSpec, limits: PictureLimits = _LIMITS) -> None:
        self.spec = spec
        self._limits = limits
        self.normalise = Normaliser(spec)
        """Gives the tensor of a kept picture (``Sample.pixels``)."""

    def prepare(self, frame: Frame) -> Sample | Rejected:
        """The sample of a frame, or why there is none."""
        started_s = decoded_s = time.monotonic()
        pixels, geometry = None, None
        try:
            if frame.is_tensor:
                tensor = self._check(frame.picture)
            else:
                upright = self._upright(frame)
                if isinstance(frame.picture, bytes | Path):
                    decoded_s = time.monotonic()
                pixels, geometry = self._fit(upright)
                pixels = _own(pixels, frame.picture)
                tensor = self.normalise(pixels)
        except PictureFlaw as flaw:
            return Rejected(
                frame.stream, frame.seq, flaw.reason, flaw.detail, frame.captured_at_wall_s, frame.origin
            )
        prepared_s = time.monotonic()
        return Sample(
            stream=frame.stream,
            seq=frame.seq,
            tensor=tensor,
            pixels=pixels,
            geometry=geometry,
            captured_at_s=frame.captured_at_s,
            captured_at_wall_s=frame.captured_at_wall_s,
            prepared_at_s=prepared_s,
            decode_ms=frame.decode_ms + (decoded_s - started_s) * 1000,
            prepare_ms=(prepared_s - decoded_s) * 1000,
            origin=frame.origin,
            settle=frame.settle,
        )

    def _fit(self, upright: Upright) -> tuple[NDArray[np.uint8], Geometry]:
        """Resize and recolour a decoded picture: uint8 (H,W,C) in the bundle's colour order, contiguous."""
        pixels, geometry = fit(self.spec, upright.pixels, upright.full_width, upright.full_height)
        if upright.colour != self.spec.colour:
            pixels = cv2.cvtColor(pixels, _RECOLOUR[upright.colour, self.spec.colour])  # type: ignore[assignment]
        return (pixels[..., None] if pixels.ndim == 2 else pixels), geometry

    def _upright(self, frame: Frame) -> Upright:
        picture: Any = frame.picture
        if isinstance(picture, Path):
            picture = read_file(picture, self._limits)
        if isinstance(picture, bytes | bytearray | memoryview):
            return decode(bytes(picture), self.spec, self._limits)
        if not isinstance(picture, np.ndarray):
            kind = type(picture).__name__
            raise PictureFlaw(RejectReason.UNSUPPORTED, f"{kind}; expected an array, encoded bytes or a path")
        if picture.size == 0:
            raise PictureFlaw(RejectReason.EMPTY, f"array of shape {picture.shape}")
        if picture.ndim in (
            2,
            3,
        ):  # to_uint8 refuses the rest; the size comes first, since conversion costs memory
            check_size(picture.shape[1], picture.shape[0], self._limits)
        pixels, colour = to_uint8(picture, frame.colour, self.spec.alpha_background)
        height, width = pixels.shape[:2]
        return Upright(pixels, colour, width, height)

    def _check(self, value: Any) -> NDArray[np.float32]:
        if not isinstance(value, np.ndarray):
            raise PictureFlaw(
                RejectReason.UNSUPPORTED, f"tensor as {type(value).__name__}; expected an array"
            )
        return check_tensor(value, self.spec)


def _own(pixels: NDArray[np.uint8], picture: Any) -> NDArray[np.uint8]:
    """Pixels that outlive the frame: a camera of just the model's size needs no resize, and its ring is overwritten."""
    is_view = isinstance(picture, np.ndarray) and np.may_share_memory(pixels, picture)
    return pixels.copy() if is_view else pixels
