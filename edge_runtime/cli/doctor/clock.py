"""The clock, without a network: files cannot be younger than now, and the battery's clock should agree."""

import ctypes
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.errors import ExitCode
from edge_runtime.system.cpu_topology import text_of
from edge_runtime.system.rfc3339 import format_rfc3339

_TOLERANCE_S = 600.0
"""Signed commands allow a minute; a file system's or battery's clock is seldom off by more than some."""
_MOST_FILES = 5000
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES = 256  # struct timex is 208 bytes on 64 bit; modes = 0 only reads
_ADVICE = "timedatectl set-ntp true, or give the box a clock with a battery; wait for time-sync.target"


def examine_clock(
    folders: Iterable[Path], root: Path = Path("/"), now_wall_s: float | None = None
) -> Iterator[Finding]:
    """Compare the clock with files that were written on this box and with its hardware clock."""
    now = time.time() if now_wall_s is None else now_wall_s
    shown = f"the clock says {format_rfc3339(now)}"
    newest, path = max(_times(folders), default=(0.0, None))
    hardware = text_of(root / "sys/class/rtc/rtc0/since_epoch").strip()
    if newest > now + _TOLERANCE_S:
        found = f"{shown}, and {path} was written {_span(newest - now)} later: the clock is behind"
        yield problem("clock.wrong", found, _ADVICE, ExitCode.UNAVAILABLE)
    elif hardware.isdecimal() and abs(int(hardware) - now) > _TOLERANCE_S:
        found = f"{shown}, and the hardware clock differs by {_span(abs(int(hardware) - now))}"
        yield problem("clock.wrong", found, f"{_ADVICE}; then hwclock --systohc", ExitCode.UNAVAILABLE)
    elif not _is_synchronised():
        found = f"{shown}, and no time server or other source keeps it right"
        yield note("clock.free", found, _ADVICE)
    else:
        yield fine("clock", f"{shown} and is kept right")


def _times(folders: Iterable[Path]) -> Iterator[tuple[float, Path]]:
    """Of the files in some folders, a bounded number of them."""
    left = _MOST_FILES
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                path = Path(place, name)
                try:
                    yield path.lstat().st_mtime, path
                except OSError:
                    continue
                left -= 1
                if left == 0:
                    return


def _is_synchronised() -> bool:
    """Whether the kernel thinks so; yes where it cannot be asked."""
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        return int(ctypes.CDLL(None).adjtimex(buffer)) != _TIME_ERROR
    except (AttributeError, OSError):  # another C library, or a sandbox
        return True


def _span(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds > 86_400 else f"{seconds / 3600:.1f} hours"
