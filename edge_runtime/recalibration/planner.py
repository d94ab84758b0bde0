"""Which task is due without a command: the first commissioning, or a recalibration by schedule or drift. Pure.

A *slot* is a time at which the schedule is due, see ``DueTime``. It comes late when a task ran meanwhile. One that came
once does not come again, also when the clock is set back over it or the daemon starts again. The newest ``MOST_SLOTS``
are known; times of a clock that was ahead keep no other slot from coming.

What comes to no patch is not tried for ever: each refusal or failure in a row doubles the cool-down, until the drift is
over or answered, the baseline is another one, or the settings are edited. And no day has more recalibrations without a
command than the configuration allows.
"""

from collections.abc import Iterable

from edge_runtime.config import RecalibrationConfig
from edge_runtime.recalibration.task import Cause, Kind
from edge_runtime.system.due_time import DueTime, NextDue

MOST_SLOTS = 256
LONGEST_COOLDOWN_S = 6 * 3600.0
"""After many refusals; a longer one that is configured stays."""
DAY_S = 86_400.0


class TaskPlanner:
    """Remembers when tasks ended and which cannot succeed, and says what is due."""

    def __init__(
        self, settings: RecalibrationConfig, next_due_wall_s: NextDue, past_slots: Iterable[float] = ()
    ) -> None:
        """``past_slots`` are the times of the schedule that came already, Unix seconds, oldest first."""
        self._settings, self._schedule = settings, DueTime(next_due_wall_s)
        self._slots = list(past_slots)[-MOST_SLOTS:]
        self._ended_at_s: float | None = None
        self._has_failed, self._in_vain = False, 0
        self._begun_at_s: list[float] = []
        """Recalibrations without a command in the last day."""
        self._impossible: dict[Kind, str] = {}

    @property
    def past_slots(self) -> tuple[float, ...]:
        """The newest times of the schedule that came, Unix seconds, oldest first."""
        return tuple(self._slots)

    @property
    def impossible(self) -> dict[Kind, str]:
        """Why a kind of task cannot succeed, for as long as model and configuration stay; a copy."""
        return self._impossible.copy()

    def reconfigure(self, settings: RecalibrationConfig) -> None:
        """Use other settings; what was impossible may be possible now."""
        self._settings = settings
        self._impossible.clear()
        self._schedule.forget()
        self._in_vain = 0

    def choose(
        self,
        now_s: float,
        now_wall_s: float,
        *,
        is_watching: bool,
        is_drifted: bool,
        is_blocked: bool = False,
    ) -> Cause | None:
        """Why to begin a task now; None when nothing is due. A drift may still have to wait, see :meth:`may_try`.

        ``is_watching`` tells whether there is a baseline to compare with, ``is_drifted`` whether a drift has no answer,
        ``is_blocked`` whether there is one that cannot be used: it is not replaced without a command.
        """
        settings = self._settings
        if not is_drifted:
            self._in_vain = 0
        has_slot_come = self._has_slot_come(now_s, now_wall_s)  # one that cannot be used does not wait
        if not settings.enabled:
            return None
        if not is_watching:
            is_wanted = settings.commission.automatic and not is_blocked
            return Cause.FIRST_START if is_wanted and self.may_try(Kind.COMMISSION, now_s) else None
        if has_slot_come:
            is_possible = Kind.RECALIBRATE not in self._impossible and self.budget_left_s(now_s) == 0
            return Cause.SCHEDULE if is_possible else None
        return Cause.DRIFT if settings.on_drift and is_drifted else None

    def may_try(self, kind: Kind, now_s: float, *, is_urgent: bool = False) -> bool:
        """Whether it is not known to fail, and the cool-down after the last task is over.

        What ``is_urgent`` waits only where the last task failed: begun again at once, it would fail again, for ever.
        """
        if kind in self._impossible or (kind is Kind.RECALIBRATE and self.budget_left_s(now_s)):
            return False
        return self.cooldown_left_s(now_s) == 0 or (is_urgent and not self._has_failed)

    def cooldown_left_s(self, now_s: float) -> float:
        """Seconds until the cool-down after the last task is over; 0 when it is."""
        if self._ended_at_s is None:
            return 0.0
        usual_s = self._settings.cooldown_s
        wanted_s = min(usual_s * 2.0 ** max(0, self._in_vain - 1), max(usual_s, LONGEST_COOLDOWN_S))
        return max(0.0, wanted_s - (now_s - self._ended_at_s))

    def budget_left_s(self, now_s: float) -> float:
        """Seconds until one more recalibration without a command fits into a day; 0 when it does."""
        self._begun_at_s = [at_s for at_s in self._begun_at_s if now_s - at_s < DAY_S]
        most = self._settings.most_a_day
        return DAY_S - (now_s - self._begun_at_s[-most]) if len(self._begun_at_s) >= most else 0.0

    def note_begin(self, now_s: float) -> None:
        """A recalibration without a command has begun."""
        self._begun_at_s.append(now_s)

    def note_end(
        self,
        now_s: float,
        *,
        has_failed: bool = False,
        is_refused: bool = False,
        is_undecided: bool = False,
    ) -> None:
        """A task has ended with something to use, was refused, or failed to come to a result: the cool-down begins.

        Also that of a patch in the shadow; while it is there, what the task came to ``is_undecided``.
        """
        self._ended_at_s, self._has_failed = now_s, has_failed
        if not is_undecided:
            self._in_vain = self._in_vain + 1 if has_failed or is_refused else 0

    def note_failure(self, kind: Kind, error: str) -> None:
        """A task of this kind cannot succeed."""
        self._impossible[kind] = error

    def note_result(self, kind: Kind) -> None:
        """A task of this kind has come to a result."""
        self._impossible.pop(kind, None)

    def note_baseline(self) -> None:
        """There is a new baseline: no cool-down delays the first recalibration."""
        self._ended_at_s, self._in_vain = None, 0
        self._schedule.forget()

    def _has_slot_come(self, now_s: float, now_wall_s: float) -> bool:
        slot_wall_s = self._schedule.look(self._settings.schedule, now_s, now_wall_s)
        if slot_wall_s is None or slot_wall_s in self._slots:
            return False
        self._slots = [*self._slots, slot_wall_s][-MOST_SLOTS:]
        return True
