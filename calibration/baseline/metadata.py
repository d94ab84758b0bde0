"""Facts about a baseline besides its figures: its name, its origin, who approved it, until when.

A person approves the site as healthy; the approval has a name, a date and, if wanted, an end. Nothing here changes
the moments, so that a new approval leaves the baseline's id, and every patch made from it, as they are. Pure values.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from calibration.errors import DataError

NAME = re.compile(r"[a-z0-9-]{1,32}")
DEFAULT_NAME = "default"
DAY_S = 86400.0
LONGEST_TEXT = 256
_TEXTS = ("name", "preprocessing", "bundle", "blessed_by")
_NUMBERS = ("sample_period_s", "blessed_wall_s", "expires_wall_s")
LAST_DATE_WALL_S = 253_402_300_799.0
"""The end of the year 9999: no calendar of Python knows a later one."""


@dataclass(frozen=True, slots=True)
class BaselineFacts:
    """Name and origin; everything but the name may be unknown.

    Attributes:
        name: What a person calls this state of the site: day, night, winter. Letters a-z, digits, '-'; at most 32.
        preprocessing: Digest of how pictures became samples; None when the writer did not know.
        bundle: Name and version of the bundle whose model it is, e.g. ``parts/4``.
        streams: Cameras its frames came from.
        sample_period_s: Mean time between two of its frames.
        blessed_by: Who approved the site as healthy: a command, the first start, a person.
        blessed_wall_s: Unix time of the approval.
        expires_wall_s: Unix time at which the approval ends; no patch is made afterwards. None is never.
    """

    name: str = DEFAULT_NAME
    preprocessing: str | None = None
    bundle: str | None = None
    streams: tuple[str, ...] = ()
    sample_period_s: float | None = None
    blessed_by: str | None = None
    blessed_wall_s: float | None = None
    expires_wall_s: float | None = None

    def __post_init__(self) -> None:
        require_name(self.name)
        if self.sample_period_s is not None and not math.isfinite(self.sample_period_s):
            raise DataError("baseline facts", "a period that is not finite", "seconds, or nothing")
        for date_wall_s in (self.blessed_wall_s, self.expires_wall_s):
            if date_wall_s is not None:
                require_date(date_wall_s)
        texts = (self.preprocessing, self.bundle, self.blessed_by, *self.streams)
        if any(text is not None and len(text) > LONGEST_TEXT for text in texts):
            raise DataError("baseline facts", "an overlong text", f"at most {LONGEST_TEXT} characters")

    def is_expired(self, now_wall_s: float) -> bool:
        """Whether the approval has ended; such a baseline still scores drift, but no patch is made from it."""
        return self.expires_wall_s is not None and now_wall_s >= self.expires_wall_s

    def approve(self, by: str, now_wall_s: float, days: float | None) -> "BaselineFacts":
        """The same with a new approval: valid for ``days`` from now, or without end."""
        ends = None if days is None else now_wall_s + days * DAY_S
        return replace(self, blessed_by=by, blessed_wall_s=now_wall_s, expires_wall_s=ends)

    def end(self, now_wall_s: float) -> "BaselineFacts":
        """The same, expired now (or earlier, if it was)."""
        ends = now_wall_s if self.expires_wall_s is None else min(self.expires_wall_s, now_wall_s)
        return replace(self, expires_wall_s=ends)

    def to_json(self) -> dict[str, Any]:
        """Plain data; :meth:`from_json` gives the same back."""
        return {**asdict(self), "streams": list(self.streams)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "BaselineFacts":
        """From plain data; keys that a later version may add are left aside.

        Raises:
            TypeError, ValueError, DataError: a value that cannot be.
        """
        known = {key: value for key, value in data.items() if value is not None}
        values: dict[str, Any] = {key: str(known[key]) for key in _TEXTS if key in known}
        values |= {key: float(known[key]) for key in _NUMBERS if key in known}
        return cls(**values, streams=tuple(str(stream) for stream in data.get("streams", ())))


def require_name(name: str) -> str:
    """The name, if it can be one.

    Raises:
        DataError: it cannot.
    """
    if not NAME.fullmatch(name):
        raise DataError("baseline", f"the name {name[:64]!r}", "1 to 32 of a-z, 0-9 and '-', e.g. night")
    return name


def require_date(wall_s: float) -> float:
    """The Unix time, if a calendar can show it.

    Raises:
        DataError: it cannot.
    """
    if not 0 <= wall_s <= LAST_DATE_WALL_S:
        raise DataError(
            "baseline facts", f"the date {wall_s:g}", "Unix time in seconds, before the year 10000"
        )
    return wall_s
