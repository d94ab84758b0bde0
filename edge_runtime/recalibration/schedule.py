"""When a cron line is due, in a time zone. A pure function around cronsim, which follows Debian's cron."""

from datetime import datetime, tzinfo

from cronsim import CronSim


def find_next_due_wall_s(schedule: str | None, after_wall_s: float, zone: tzinfo) -> float | None:
    """The first Unix time after ``after_wall_s`` at which a schedule is due.

    A line with fixed hours comes once a day also on the days when clocks change: a time that does not exist that day is
    the first one that does, and of a time that comes twice the first one counts.

    Returns:
        None without a schedule, and for a clock so wrong that no date can be told from it.
    """
    if schedule is None:
        return None
    try:
        times = CronSim(schedule, datetime.fromtimestamp(after_wall_s, zone))
        while (due_wall_s := next(times).timestamp()) <= after_wall_s:
            # In the hour that comes twice cronsim counts from its first pass.
            pass
        return float(due_wall_s)
    except (ValueError, OverflowError, OSError, StopIteration):
        return None
