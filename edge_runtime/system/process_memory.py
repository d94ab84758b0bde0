"""How much memory this process has (proc_pid_status(5))."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Without the processes that decode cameras or recalibrate."""

    resident_bytes: int
    """In RAM now, shared parts too."""
    peak_bytes: int
    """The most since the start."""


def read_process_memory(status: Path = Path("/proc/self/status")) -> ProcessMemory | None:
    """Of now; None where the kernel does not say."""
    try:
        found = dict(
            re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status.read_text(encoding="ascii"), re.MULTILINE)
        )
    except OSError:
        return None
    if len(found) < 2:
        return None
    return ProcessMemory(int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024)
