"""Tensors: from pixels, from raw inputs that only need checking, and in the layout that calibration wants."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.specs import PictureSpec, PreprocessSpec


class Normaliser:
    """Pixels -> tensor: subtract the mean, divide by the standard deviation, put the axes in the model's order.

    The only place where this happens, for live frames, golden pictures and the kept pictures of the reservoir. A table
    of 256 values a channel does it in one pass and gives the same bits on every machine.
    """

    def __init__(self, spec: PictureSpec) -> None:
        mean, std = np.asarray(spec.mean, np.float64), np.asarray(spec.std, np.float64)
        self._table = ((np.arange(256)[None, :] - mean[:, None]) / std[:, None]).astype(np.float32)
        self._interleaved = np.ascontiguousarray(self._table.T)[np.newaxis]
        self._shape = spec.tensor_shape
        self._picture = (spec.height, spec.width, spec.channels)
        self._is_planar = spec.layout == "nchw"

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The tensor of uint8 pixels (H,W,C) as in ``Sample``: float32 (C,H,W) or (H,W,C), owned by the caller.

        Raises:
            ValueError: another shape or dtype; those pictures did not go through ``Preprocessor.prepare``.
        """
        if pixels.shape != self._picture or pixels.dtype != np.uint8:
            raise ValueError(f"pixels {pixels.dtype} {pixels.shape}; expected uint8 {self._picture}")
        tensor = np.empty(self._shape, np.float32)
        if self._is_planar:
            for plane, table, out in zip(cv2.split(pixels), self._table, tensor, strict=True):
                cv2.LUT(plane, table, dst=out)  # half the time of numpy's take, the same bits
        else:
            cv2.LUT(pixels, self._interleaved, dst=tensor)
        return tensor


def channels_first(samples: NDArray[np.float32], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Prepared samples (N, ...) with channels second, as ``calibration`` takes them, whatever the model's layout."""
    axis = spec.channel_axis + 1
    return samples if axis == 1 else np.ascontiguousarray(np.moveaxis(samples, axis, 1))


def is_tensor_of_levels(value: Any, spec: PictureSpec) -> bool:
    """Whether an 8-bit array is the model's own input: planes of pixel levels for a model that normalises nothing.

    With channels last the same array is a picture, and prepared as one.
    """
    takes_levels = spec.layout == "nchw" and not any(spec.mean) and set(spec.std) == {1}
    return (
        takes_levels
        and isinstance(value, np.ndarray)
        and value.dtype == np.uint8
        and value.shape in (spec.tensor_shape, (1, *spec.tensor_shape))
    )


def check_tensor(value: NDArray[Any], spec: PictureSpec) -> NDArray[np.float32]:
    """A tensor the model can take: float32 in its layout, every value finite.

    Whole numbers are refused, except those of ``is_tensor_of_levels``: a prepared tensor is normalised, and pixel
    levels that are not give every picture the same answer.

    A batch of one loses its batch axis. NaN and masked entries are missing values: filled when the bundle says with
    what, else refused. Infinity is never a missing value but an overflow upstream, and refused.

    Raises:
        InputFlaw: shape, dtype or values.
    """
    if value.size == 0:
        raise InputFlaw(RejectReason.EMPTY, f"tensor of shape {value.shape}")
    if value.dtype.kind != "f" and not is_tensor_of_levels(value, spec):
        raise InputFlaw(RejectReason.BAD_DTYPE, f"tensor of type {value.dtype}; {describe_arrays(spec)}")
    if value.ndim == 4 and value.shape[0] == 1:
        value = value[0]
    if value.shape != spec.tensor_shape:
        raise InputFlaw(RejectReason.BAD_SHAPE, _shape_words(value.shape, spec))
    tensor = _without_mask(value)
    if np.isfinite(tensor).all():
        return tensor
    if np.isinf(tensor).any():
        raise InputFlaw(RejectReason.NON_FINITE, "tensor holds infinity or values beyond float32")
    if spec.missing_value is None:
        missing = int(np.isnan(tensor).sum())
        raise InputFlaw(RejectReason.NON_FINITE, f"{missing} of {tensor.size} values are missing (NaN)")
    tensor[np.isnan(tensor)] = spec.missing_value
    return tensor


def _without_mask(value: NDArray[Any]) -> NDArray[np.float32]:
    """An own float32 copy, NaN where the array is masked."""
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity and is refused by the caller
        tensor = np.array(value, np.float32, order="C", subok=False)
    if isinstance(value, np.ma.MaskedArray):
        tensor[np.broadcast_to(value.mask, value.shape)] = np.nan
    return tensor


def describe_arrays(spec: PictureSpec) -> str:
    """The arrays that are taken, for the reason of one that is not."""
    expected = f"{spec.tensor_shape} ({spec.layout})"
    return f"expected a picture of uint8 (H,W) or (H,W,3), or a normalised tensor of float32 {expected}"


def _shape_words(shape: tuple[int, ...], spec: PictureSpec) -> str:
    words = f"tensor of shape {shape}; expected {spec.tensor_shape} ({spec.layout} without the batch axis)"
    if len(shape) != 3:
        return words
    if sorted(shape) == sorted(spec.tensor_shape):
        return f"{words}; the axes look swapped"
    channels = shape[0] if spec.layout == "nchw" else shape[-1]
    if channels < spec.channels:
        return f"{words}; {spec.channels - channels} channel(s) are missing"
    return words
