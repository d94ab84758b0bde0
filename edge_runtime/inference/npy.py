"""Arrays in NumPy's file format (``.npy``), as a message or a file.

The header is a Python expression. It is matched against the one form that plain arrays have and never evaluated: the
evaluation can raise nearly every kind of exception, and take long.
"""

import io
import math
import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw

_MAGIC = b"\x93NUMPY"
_LENGTHS = {1: "<H", 2: "<I", 3: "<I"}
_MOST_HEADER = 4096
_MOST_AXES = 8
_ENTRY = (
    r"""\s*(?:(['"])descr\%d\s*:\s*(['"])(?P<descr%d>[<>=|]?[a-zA-Z]\d{1,3})\%d"""
    r"""|(['"])fortran_order\%d\s*:\s*(?P<fortran%d>True|False)"""
    r"""|(['"])shape\%d\s*:\s*\((?P<shape%d>[\d\s,]*)\))\s*"""
)
_HEADER = re.compile(
    r"\{"
    + ",".join(_ENTRY % (n + 1, i, n + 2, n + 4, i, n + 6, i) for i, n in ((0, 0), (1, 7), (2, 14)))
    + r",?\s*\}\s*"
)
_TYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})


def is_npy(data: bytes) -> bool:
    """Whether it begins like an array."""
    return data[:6] == _MAGIC


def read_npy(data: bytes) -> NDArray[Any]:
    """The array, a read-only view of ``data``. The header is checked against the bytes that are there first.

    Raises:
        InputFlaw: damaged, or no plain array of numbers.
    """
    descr, is_fortran, shape, at = _read_header(data)
    order, name = (descr[0], descr[1:]) if descr[0] in "<>=|" else ("=", descr)
    if name not in _TYPES:
        raise InputFlaw(RejectReason.BAD_DTYPE, ".npy of another type than plain numbers")
    dtype = np.dtype(order + name)
    size, found = math.prod(shape) * dtype.itemsize, len(data) - at
    if size != found:
        reason = RejectReason.TRUNCATED if found < size else RejectReason.UNREADABLE
        raise InputFlaw(reason, f".npy with {found} bytes of values; its header needs {size}")
    if size == 0:
        raise InputFlaw(RejectReason.EMPTY, ".npy without values")
    return np.frombuffer(data, dtype, offset=at).reshape(shape, order="F" if is_fortran else "C")


def write_npy(array: NDArray[Any]) -> bytes:
    """A ``.npy`` file with this array of plain numbers."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _read_header(data: bytes) -> tuple[str, bool, tuple[int, ...], int]:
    """Type, whether the axes are stored in Fortran's order, shape, offset of the values."""
    code = _LENGTHS.get(data[6]) if len(data) >= 12 else None
    if code is None:
        raise InputFlaw(RejectReason.UNREADABLE, ".npy cut off, or of a version that is not known")
    start = 8 + struct.calcsize(code)
    (length,) = struct.unpack_from(code, data, 8)
    if length > _MOST_HEADER or start + length > len(data):
        raise InputFlaw(
            RejectReason.UNREADABLE, f".npy with a header of {length} bytes; at most {_MOST_HEADER}"
        )
    found = _HEADER.fullmatch(data[start : start + length].decode("latin-1"))
    named: dict[str, str] = {}
    for key, value in () if found is None else found.groupdict().items():
        if value is not None:
            named[key.rstrip("012")] = value
    axes = [part.strip() for part in named.get("shape", "").removesuffix(",").split(",")]
    axes = [] if axes == [""] else axes
    if len(named) != 3 or len(axes) > _MOST_AXES or not all(re.fullmatch(r"\d{1,12}", axis) for axis in axes):
        expected = f"expected a plain type, an order and a shape of at most {_MOST_AXES} axes"
        raise InputFlaw(RejectReason.UNREADABLE, f".npy with a header that is not understood; {expected}")
    return named["descr"], named["fortran"] == "True", tuple(int(axis) for axis in axes), start + length
