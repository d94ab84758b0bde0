"""Prepared tensors: raw inputs that only need checking, and the layout that calibration wants."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.preprocess.headers import PictureFlaw
from edge_runtime.inference.specs import PreprocessSpec


def channels_first(samples: NDArray[np.float32], spec: PreprocessSpec) -> NDArray[np.float32]:
    """Prepared samples (N, ...) as (N, C, H, W), as ``calibration`` takes them, whatever the model's layout."""
    return samples if spec.layout == "nchw" else np.ascontiguousarray(np.moveaxis(samples, -1, 1))


def check_tensor(value: NDArray[Any], spec: PreprocessSpec) -> NDArray[np.float32]:
    """A tensor the model can take: float32 in its layout, every value finite.

    A batch of one loses its batch axis. NaN and masked entries are missing values: filled when the bundle says with
    what, else refused. Infinity is never a missing value but an overflow upstream, and refused.

    Raises:
        PictureFlaw: shape, dtype or values.
    """
    if value.size == 0:
        raise PictureFlaw(RejectReason.EMPTY, f"tensor of shape {value.shape}")
    if value.dtype.kind not in "fiu":
        raise PictureFlaw(RejectReason.BAD_DTYPE, f"tensor of type {value.dtype}; expected float32")
    if value.ndim == 4 and value.shape[0] == 1:
        value = value[0]
    if value.shape != spec.tensor_shape:
        raise PictureFlaw(RejectReason.BAD_SHAPE, _shape_words(value.shape, spec))
    tensor = _without_mask(value)
    if np.isfinite(tensor).all():
        return tensor
    if np.isinf(tensor).any():
        raise PictureFlaw(RejectReason.NON_FINITE, "tensor holds infinity or values beyond float32")
    if spec.missing_value is None:
        missing = int(np.isnan(tensor).sum())
        raise PictureFlaw(RejectReason.NON_FINITE, f"{missing} of {tensor.size} values are missing (NaN)")
    tensor[np.isnan(tensor)] = spec.missing_value
    return tensor


def _without_mask(value: NDArray[Any]) -> NDArray[np.float32]:
    """An own float32 copy, NaN where the array is masked."""
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinity and is refused by the caller
        tensor = np.array(np.ma.getdata(value), np.float32, order="C")
    if isinstance(value, np.ma.MaskedArray):
        tensor[np.ma.getmaskarray(value)] = np.nan
    return tensor


def _shape_words(shape: tuple[int, ...], spec: PreprocessSpec) -> str:
    words = f"tensor of shape {shape}; expected {spec.tensor_shape} ({spec.layout} without the batch axis)"
    if len(shape) != 3:
        return words
    if sorted(shape) == sorted(spec.tensor_shape):
        return f"{words}; the axes look swapped"
    channels = shape[0] if spec.layout == "nchw" else shape[-1]
    if channels < spec.channels:
        return f"{words}; {spec.channels - channels} channel(s) are missing"
    return words
