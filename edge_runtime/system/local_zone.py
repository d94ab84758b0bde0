"""The time zone of this box as a ``tzinfo`` that knows all its changes, past and future.

``datetime.astimezone()`` gives the offset of one moment only. As libc does, ``TZ`` counts first (a name, a file, or a
rule such as ``CET-1CEST,M3.5.0,M10.5.0/3``), then ``/etc/localtime``, then UTC.
"""

import io
import struct
from collections.abc import Mapping
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from calibration.stats.regular_file import read_whole

LOCALTIME = Path("/etc/localtime")


def find_local_zone(env: Mapping[str, str], localtime: Path = LOCALTIME) -> tzinfo:
    """The zone of now; what cannot be read is UTC, as in libc."""
    name = env.get("TZ")
    try:
        if name is None:
            return _read(localtime)
        name = name.removeprefix(":")
        if name.startswith("/"):
            return _read(Path(name))
        return _find(name)
    except (OSError, ValueError, struct.error):
        return UTC


def _find(name: str) -> tzinfo:
    try:
        return ZoneInfo(name or "UTC")
    except (OSError, ValueError, KeyError):  # not a name that can be found
        return _from_rule(name)


def _read(path: Path) -> ZoneInfo:
    return ZoneInfo.from_file(io.BytesIO(read_whole(path, 2**20)))


def _from_rule(rule: str) -> ZoneInfo:
    """A zone that is nothing but a rule: a file with an empty table and the rule as its footer (RFC 9636).

    Raises:
        ValueError: it is none.
    """
    # No UT/standard flags, leap seconds or changes; one type (offset 0, no summer time) with an empty name.
    empty = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 1) + bytes(6) + b"\0"
    return ZoneInfo.from_file(io.BytesIO(empty + empty + b"\n" + rule.encode("ascii") + b"\n"))
