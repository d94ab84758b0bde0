"""Times as text for results, events, pages and logs."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_WALL_S = 253_402_300_799.0  # 9999-12-31T23:59:59Z, the last second RFC 3339 can write


def parse_rfc3339(text: str) -> float:
    """Unix seconds of a time like ``2026-11-23T15:20:59.123Z``, in years 1970..9999.

    Raises:
        ValueError: it is none, lacks the offset from UTC, or lies outside of these years.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no offset from UTC")
    try:
        wall_s = (moment - _EPOCH).total_seconds()
    except OverflowError as err:  # the first or last hours of the calendar
        raise ValueError(f"{text[:40]!r} is out of range") from err
    if not 0.0 <= wall_s <= _LAST_WALL_S:
        raise ValueError(f"{text[:40]!r} is out of range")
    return wall_s


def format_rfc3339(wall_s: float) -> str:
    """Unix seconds as ``2026-11-23T15:20:59.123Z``, in years 1970..9999 (others are clamped); NaN is the epoch.

    A device without a battery clock starts in 1970 and may jump: a strange clock must not stop results.
    """
    seconds = 0.0 if wall_s != wall_s else min(max(wall_s, 0.0), _LAST_WALL_S)
    moment = _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
