"""When a cron line is due next, by a wall clock that may be wrong and may be set right at any moment. Pure.

1. A time is planned ahead, and comes late when nobody looked meanwhile.
2. When the wall clock steps against the monotonic one, the next time is planned anew from the new one: times that
   were stepped over do not come, neither at once nor in a burst.
"""

from collections.abc import Callable

NextDue = Callable[[str | None, float], float | None]
"""(cron line, Unix time) -> when it is due next after it; None without a line, and where none can be told."""

STEP_S = 30.0
"""A wall clock that moves this much against the monotonic one was set."""
REPLAN_S = 900.0
"""The zone of the box may change: its changes are followed after this time."""


class DueTime:
    """The next time of one line."""

    def __init__(self, find_next: NextDue) -> None:
        self._find_next = find_next
        self._line: str | None = None
        self._planned_at_s: float | None = None
        self._wall_ahead_s = 0.0
        self.due_wall_s: float | None = None
        """Unix seconds; None before the first look, and where there is no time."""

    def forget(self) -> None:
        """Plan anew at the next look."""
        self._planned_at_s = self.due_wall_s = None

    def look(self, line: str | None, now_s: float, now_wall_s: float) -> float | None:
        """The time that has come since the last look, Unix seconds; the next one is planned then.

        Args:
            line: In force; another one is planned anew.
            now_s: Monotonic.
            now_wall_s: Unix seconds.
        """
        wall_ahead_s = now_wall_s - now_s
        if (
            self._planned_at_s is None
            or line != self._line
            or abs(wall_ahead_s - self._wall_ahead_s) > STEP_S
        ):
            self._plan(line, now_s, now_wall_s)
        self._wall_ahead_s = wall_ahead_s
        due_wall_s = self.due_wall_s
        has_come = due_wall_s is not None and now_wall_s >= due_wall_s
        if has_come or (self._planned_at_s is not None and now_s - self._planned_at_s >= REPLAN_S):
            self._plan(line, now_s, now_wall_s)
        return due_wall_s if has_come else None

    def _plan(self, line: str | None, now_s: float, now_wall_s: float) -> None:
        self._line, self._planned_at_s = line, now_s
        self.due_wall_s = self._find_next(line, now_wall_s)
