"""Whether this CPU multiplies in bfloat16. Without it oneDNN emulates each product: 34 times as long as float32."""

from functools import cache

from calibration.targets.cpu_flags import list_flags, read_cpuinfo

_NAMES = {"avx512_bf16", "amx_bf16", "bf16"}
"""As Linux names them: x86 with AVX-512 or AMX, Arm."""


def multiplies_bfloat16(cpuinfo: str) -> bool:
    """Whether all cores of such a ``/proc/cpuinfo`` do. An unreadable or foreign text names none that does."""
    cores = list_flags(cpuinfo)
    return bool(cores) and all(flags & _NAMES for flags in cores)


@cache
def does_this_cpu_multiply_bfloat16() -> bool:
    """The answer for this machine; False where there is no ``/proc/cpuinfo``."""
    return multiplies_bfloat16(read_cpuinfo())
