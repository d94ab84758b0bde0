"""Pixels -> tensor: subtract the mean, divide by the standard deviation, put the axes in the model's order.

The only place where this happens, for live frames, golden pictures and the kept pictures of the reservoir. A table
of 256 values a channel does it in one pass and gives the same bits on every machine.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.inference.specs import PreprocessSpec


class Normaliser:
    """Normalises pictures of one spec."""

    def __init__(self, spec: PreprocessSpec) -> None:
        mean, std = np.asarray(spec.mean, np.float64), np.asarray(spec.std, np.float64)
        self._table = ((np.arange(256)[None, :] - mean[:, None]) / std[:, None]).astype(np.float32)
        self._interleaved = np.ascontiguousarray(self._table.T)[np.newaxis]
        self._shape = spec.tensor_shape
        self._picture = (spec.height, spec.width, spec.channels)
        self._is_planar = spec.layout == "nchw"

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The tensor of one picture.

        Args:
            pixels: uint8 (H,W,C) exactly as ``Sample.pixels``.

        Returns:
            float32 (C,H,W) or (H,W,C), owned by the caller.

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
