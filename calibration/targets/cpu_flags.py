"""The instructions that the cores of a box have, as Linux names them in ``/proc/cpuinfo``."""

from pathlib import Path

_KEYS = {"flags", "Features"}
"""On x86, and on Arm."""


def list_flags(cpuinfo: str) -> frozenset[frozenset[str]]:
    """The flags of each kind of core in such a text; cores of one box may differ. Of a foreign text none."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return frozenset(frozenset(value.split()) for key, _, value in lines if key.strip() in _KEYS)


def read_cpuinfo() -> str:
    """That of this machine; empty where there is no ``/proc/cpuinfo``."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux: not known
        return ""
