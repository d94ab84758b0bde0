"""Whether this CPU adds int8 products exactly, and whether a model's weights need it to.

x86 without VNNI multiplies uint8 activations with int8 weights by ``vpmaddubsw``, which adds two neighbouring products
in 16 bits and cuts what does not fit, without a word. With one input of 255 and weights of 127 a pair is 64,770, and
32,767 remains. Seven bits cannot reach that: 255 * (64 + 64) = 32,640. VNNI, SSE kernels and Arm add in 32 bits.

No framework is imported here. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, PMADDUBSW.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.targets.cpu_flags import list_flags, read_cpuinfo

_MOST, _LEAST = 32767, -32768
_MOST_ACTIVATION = 255
_VNNI = {"avx512_vnni", "avx_vnni"}
"""As Linux names them; each has the 32-bit ``vpdpbusd``."""


def cuts_int8_sums(cpuinfo: str) -> bool:
    """Whether a CPU of such a ``/proc/cpuinfo`` cuts sums of int8 products: AVX2, and no VNNI.

    Cores of one box may differ; one that cuts is enough. An unreadable or foreign text is no such CPU.
    """
    return any("avx2" in flags and not flags & _VNNI for flags in list_flags(cpuinfo))


@cache
def does_this_cpu_cut() -> bool:
    """The answer for this machine."""
    return cuts_int8_sums(read_cpuinfo())


def can_exceed(weights: NDArray[Any]) -> bool:
    """Whether a pair of these weights, int8 of any shape, can make a sum that 16 bits do not hold.

    Which two are neighbours depends on the kernel, so the two largest of one sign stand for all pairs: False is proven.
    """
    flat = np.asarray(weights).ravel().astype(np.int32)
    if flat.size < 2:
        return False
    ends = np.partition(flat, (1, flat.size - 2)) if flat.size > 2 else np.sort(flat)
    low, high = np.minimum(ends[:2], 0).sum(), np.maximum(ends[-2:], 0).sum()
    return bool(_MOST_ACTIVATION * high > _MOST or _MOST_ACTIVATION * low < _LEAST)
