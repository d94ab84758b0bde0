"""Which task is due without a command: the first commissioning, or a recalibration by schedule or drift. Pure."""

from collections.abc import Callable

from edge_runtime.config import RecalibrationConfig
from edge_runtime.recalibration.task import Cause, Kind

NextDue = Callable[[str | None, float], float | None]
"""(cron line, Unix time) -> when the schedule is due next after it; None without a schedule."""


class TaskPlanner:
    """Remembers when tasks ended and which cannot succeed, and says what is due."""

    def __init__(self, settings: RecalibrationConfig, next_due_wall_s: NextDue, now_wall_s: float) -> None:
        self._settings, self._next_due_wall_s = settings, next_due_wall_s
        self._plan_next(now_wall_s)
        self._ended_at_s: float | None = None
        self._impossible: dict[Kind, str] = {}

    @property
    def impossible(self) -> dict[Kind, str]:
        """Why a kind of task cannot succeed, for as long as model and configuration stay; a copy."""
        return self._impossible.copy()

    def reconfigure(self, settings: RecalibrationConfig, now_wall_s: float) -> None:
        """Use other settings; what was impossible may be possible now."""
        self._settings = settings
        self._impossible.clear()
        self._plan_next(now_wall_s)

    def choose(self, now_s: float, now_wall_s: float, *, is_watching: bool, is_drifted: bool) -> Cause | None:
        """Why to begin a task now; None when nothing is due. A drift may still have to wait, see :meth:`may_try`.

        ``is_watching`` tells whether there is a baseline to compare with, ``is_drifted`` whether a drift has no answer.
        """
        settings = self._settings
        if not settings.enabled:
            return None
        if not is_watching:
            is_wanted = settings.commission.automatic and self.may_try(Kind.COMMISSION, now_s)
            return Cause.FIRST_START if is_wanted else None
        if self._due_wall_s is not None and now_wall_s >= self._due_wall_s:
            self._plan_next(now_wall_s)
            return None if Kind.RECALIBRATE in self._impossible else Cause.SCHEDULE
        return Cause.DRIFT if settings.on_drift and is_drifted else None

    def may_try(self, kind: Kind, now_s: float) -> bool:
        """Whether it is not known to fail, and the cool-down after the last task is over."""
        if kind in self._impossible:
            return False
        return self._ended_at_s is None or now_s - self._ended_at_s >= self._settings.cooldown_s

    def note_end(self, now_s: float) -> None:
        """A task has ended: the cool-down begins."""
        self._ended_at_s = now_s

    def note_failure(self, kind: Kind, error: str) -> None:
        """A task of this kind cannot succeed."""
        self._impossible[kind] = error

    def note_result(self, kind: Kind) -> None:
        """A task of this kind has come to a result."""
        self._impossible.pop(kind, None)

    def note_baseline(self, now_wall_s: float) -> None:
        """There is a new baseline: no cool-down delays the first recalibration."""
        self._ended_at_s = None
        self._plan_next(now_wall_s)

    def _plan_next(self, now_wall_s: float) -> None:
        self._due_wall_s = self._next_due_wall_s(self._settings.schedule, now_wall_s)
