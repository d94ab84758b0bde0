"""Frame -> sample, exactly as the bundle says: the one code path for live, golden and reference pictures.

A picture that cannot be used becomes a ``Rejected`` value with its reason; nothing here raises for bad input.
"""

import time
from collections.abc import Callable
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
from edge_runtime.inference.preprocess.normalise import Normaliser
from edge_runtime.inference.preprocess.tensors import check_tensor
from edge_runtime.inference.specs import Colour, PreprocessSpec

_RECOLOUR: dict[tuple[Colour, Colour], int] = {
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "grey"): cv2.COLOR_RGB2GRAY,
    ("bgr", "grey"): cv2.COLOR_BGR2GRAY,
    ("grey", "rgb"): cv2.COLOR_GRAY2RGB,
    ("grey", "bgr"): cv2.COLOR_GRAY2BGR,
}


class Preprocessor:
    """Prepares frames for one model. Holds no state between frames; callable from several threads at once."""

    def __init__(
        self,
        spec: PreprocessSpec,
        limits: PictureLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self._limits = limits or PictureLimits()
        self._clock = clock
        self._normalise = Normaliser(spec)

    def prepare(self, frame: Frame) -> Sample | Rejected:
        """The sample of a frame, or why there is none."""
        started_s = self._clock()
        try:
            if frame.is_tensor:
                return self._from_tensor(frame, started_s)
            upright = self._upright(frame)
            decoded_s = self._clock()
            pixels, geometry = self._fit(upright)
            pixels = _own(pixels, frame.picture)
        except PictureFlaw as flaw:
            return Rejected(frame.stream, frame.seq, flaw.reason, flaw.detail)
        tensor = self._normalise(pixels)
        prepared_s = self._clock()
        is_encoded = isinstance(frame.picture, bytes | Path)
        return Sample(
            stream=frame.stream,
            seq=frame.seq,
            tensor=tensor,
            pixels=pixels,
            geometry=geometry,
            captured_at_s=frame.captured_at_s,
            captured_at_wall_s=frame.captured_at_wall_s,
            prepared_at_s=prepared_s,
            decode_ms=frame.decode_ms + ((decoded_s - started_s) * 1000 if is_encoded else 0.0),
            prepare_ms=(prepared_s - (decoded_s if is_encoded else started_s)) * 1000,
        )

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The tensor of a kept picture (``Sample.pixels``): uint8 (H,W,C) -> float32 in the model's layout.

        Raises:
            ValueError: not the shape or dtype of ``Sample.pixels``.
        """
        return self._normalise(pixels)

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
        if picture.ndim not in (2, 3):
            raise PictureFlaw(
                RejectReason.BAD_SHAPE, f"array of shape {picture.shape}; expected (H,W) or (H,W,1..4)"
            )
        height, width = picture.shape[:2]
        check_size(width, height, self._limits)
        pixels, colour = to_uint8(picture, frame.colour, self.spec.alpha_background)
        return Upright(pixels, colour, width, height)

    def _from_tensor(self, frame: Frame, started_s: float) -> Sample:
        if not isinstance(frame.picture, np.ndarray):
            raise PictureFlaw(
                RejectReason.UNSUPPORTED, f"tensor as {type(frame.picture).__name__}; expected an array"
            )
        tensor = check_tensor(frame.picture, self.spec)
        now_s = self._clock()
        return Sample(
            stream=frame.stream,
            seq=frame.seq,
            tensor=tensor,
            pixels=None,
            geometry=None,
            captured_at_s=frame.captured_at_s,
            captured_at_wall_s=frame.captured_at_wall_s,
            prepared_at_s=now_s,
            decode_ms=frame.decode_ms,
            prepare_ms=(now_s - started_s) * 1000,
        )


def _own(pixels: NDArray[np.uint8], picture: Any) -> NDArray[np.uint8]:
    """Pixels that outlive the frame: a camera of just the model's size needs no resize, and its ring is overwritten."""
    is_view = isinstance(picture, np.ndarray) and np.may_share_memory(pixels, picture)
    return pixels.copy() if is_view else pixels
