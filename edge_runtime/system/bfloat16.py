"""Whether this CPU multiplies in bfloat16. Without it oneDNN emulates each product: 34 times as long as float32."""

from functools import cache
from pathlib import Path

_NAMES = {"avx512_bf16", "amx_bf16", "bf16"}
"""As Linux names them: x86 with AVX-512 or AMX, Arm."""


def multiplies_bfloat16(cpuinfo: str) -> bool:
    """Whether all cores of such a ``/proc/cpuinfo`` do. An unreadable or foreign text names none that does."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    cores = [set(value.split()) for key, _, value in lines if key.strip() in ("flags", "Features")]
    return bool(cores) and all(flags & _NAMES for flags in cores)


@cache
def does_this_cpu_multiply_bfloat16() -> bool:
    """The answer for this machine; False where there is no ``/proc/cpuinfo``."""
    try:
        return multiplies_bfloat16(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False
