"""Picture -> sample, exactly as the bundle says: the one code path for live, golden and reference pictures.

A picture that cannot be used becomes a ``Rejected`` value with its reason; nothing here raises for bad input.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import ColourOrder, Frame, Geometry, Rejected, RejectReason, Sample
from edge_runtime.inference.file_bytes import read_file
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.npy import is_npy, read_npy
from edge_runtime.inference.preparation import make_sample, prepare_or_reject
from edge_runtime.inference.preprocess.decode import Upright, decode, to_uint8
from edge_runtime.inference.preprocess.geometry import fit
from edge_runtime.inference.preprocess.limits import PictureLimits
from edge_runtime.inference.preprocess.tensors import (
    Normaliser,
    check_tensor,
    describe_arrays,
    is_tensor_of_levels,
)
from edge_runtime.inference.specs import Colour, PictureSpec

_RECOLOUR: dict[tuple[Colour, Colour], int] = {
    ("rgb", "bgr"): cv2.COLOR_RGB2BGR,
    ("bgr", "rgb"): cv2.COLOR_BGR2RGB,
    ("rgb", "grey"): cv2.COLOR_RGB2GRAY,
    ("bgr", "grey"): cv2.COLOR_BGR2GRAY,
    ("grey", "rgb"): cv2.COLOR_GRAY2RGB,
    ("grey", "bgr"): cv2.COLOR_GRAY2BGR,
}

_LIMITS = PictureLimits()


class PicturePreprocessor:
    """Prepares pictures for one model. Holds no state between frames; callable from several threads at once.

    Args:
        spec: The input of the model.
        limits: Larger pictures are refused.
        note_failure: Called with every exception that no check foresaw, while it is being handled.
    """

    def __init__(
        self,
        spec: PictureSpec,
        limits: PictureLimits = _LIMITS,
        note_failure: Callable[[Exception], object] = lambda _: None,
    ) -> None:
        self.spec = spec
        self._limits = limits
        self._note_failure = note_failure
        self.normalise = Normaliser(spec)
        """Gives the tensor of a kept picture (``Sample.values``)."""

    def prepare(self, frame: Frame) -> Sample | Rejected:
        """The sample of a frame, or why there is none."""
        return prepare_or_reject(frame, self._prepare, self._note_failure)

    def read_picture(self, frame: Frame) -> Upright:
        """The picture of a frame itself, decoded and upright, before it is fitted to the model.

        Raises:
            InputFlaw: it cannot be read, or is a prepared tensor.
        """
        picture, is_tensor = self._load(frame)
        if is_tensor:
            raise InputFlaw(RejectReason.UNSUPPORTED, "a prepared tensor; expected a picture")
        return self._upright(picture, frame.colour)

    def _prepare(self, frame: Frame) -> Sample:
        started_s = decoded_s = time.monotonic()
        picture, is_tensor = self._load(frame)
        pixels, geometry = None, None
        if is_tensor or is_tensor_of_levels(picture, self.spec):
            tensor = self._check(picture)
        else:
            upright = self._upright(picture, frame.colour)
            if isinstance(frame.payload, bytes | Path):
                decoded_s = time.monotonic()
            pixels, geometry = self._fit(upright)
            pixels = _own(pixels, picture)
            tensor = self.normalise(pixels)
        return make_sample(frame, tensor, pixels, (started_s, decoded_s), geometry=geometry)

    def _fit(self, upright: Upright) -> tuple[NDArray[np.uint8], Geometry]:
        """Resize and recolour a decoded picture: uint8 (H,W,C) in the bundle's colour order, contiguous."""
        pixels, geometry = fit(self.spec, upright.pixels, upright.full_width, upright.full_height)
        if upright.colour != self.spec.colour:
            pixels = cv2.cvtColor(pixels, _RECOLOUR[upright.colour, self.spec.colour])  # type: ignore[assignment]
        return (pixels[..., None] if pixels.ndim == 2 else pixels), geometry

    def _load(self, frame: Frame) -> tuple[Any, bool]:
        """Encoded bytes, or an array and whether it is a prepared tensor: in ``.npy`` its type says so."""
        picture: Any = frame.payload
        if isinstance(picture, Path):
            picture = read_file(picture, self._limits.check_bytes)
        if isinstance(picture, bytearray | memoryview):
            picture = bytes(picture)
        if isinstance(picture, bytes) and is_npy(picture):
            self._limits.check_bytes(len(picture))
            array = read_npy(picture)
            return array, not (array.dtype.kind == "u" and array.dtype.itemsize <= 2)
        return picture, frame.is_tensor

    def _upright(self, picture: Any, colour: ColourOrder | None) -> Upright:
        if isinstance(picture, bytes):
            return decode(picture, self.spec, self._limits)
        if not isinstance(picture, np.ndarray):
            kind = type(picture).__name__
            raise InputFlaw(RejectReason.UNSUPPORTED, f"{kind}; expected an array, encoded bytes or a path")
        if picture.size == 0:
            raise InputFlaw(RejectReason.EMPTY, f"array of shape {picture.shape}")
        channels = picture.shape[2] if picture.ndim == 3 else 1
        if picture.ndim not in (2, 3) or channels > 4:
            swapped = "; the axes look swapped" if picture.ndim == 3 and picture.shape[0] <= 4 else ""
            found = f"{picture.dtype} array of shape {picture.shape}{swapped}"
            raise InputFlaw(RejectReason.BAD_SHAPE, f"{found}; {describe_arrays(self.spec)}")
        # The size comes before the type: converting costs memory.
        self._limits.check_size(picture.shape[1], picture.shape[0], channels * picture.dtype.itemsize)
        if channels >= 3 and colour is None:
            found = f"array of {channels} channels in an order that nothing declares"
            raise InputFlaw(RejectReason.UNSUPPORTED, f"{found}; set cameras.NAME.colour to rgb or bgr")
        pixels, order = to_uint8(picture, colour or "grey", self.spec.alpha_background)
        height, width = pixels.shape[:2]
        return Upright(pixels, order, width, height)

    def _check(self, value: Any) -> NDArray[np.float32]:
        if not isinstance(value, np.ndarray):
            raise InputFlaw(RejectReason.UNSUPPORTED, f"tensor as {type(value).__name__}; expected an array")
        return check_tensor(value, self.spec)


def _own(pixels: NDArray[np.uint8], picture: Any) -> NDArray[np.uint8]:
    """Pixels that outlive the frame: a camera of just the model's size needs no resize, and its ring is overwritten."""
    is_view = isinstance(picture, np.ndarray) and np.may_share_memory(pixels, picture)
    return pixels.copy() if is_view else pixels
