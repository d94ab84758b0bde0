"""All known states of the site are scored: its baselines, and the drifts for which a patch was accepted.

One monitor a state, all fed with the same moments (0.05 ms a frame each). The baseline *in use* is the one that
drift is measured against. Another takes over when the camera is at half the distance of the one in use or less, for
two windows: at dusk two baselines must not alternate. When none fits, the one in use stays, and there is a drift from
it. A drift alarm waits while another known state may be the reason, which shows only once a whole window of it was
seen: day turning into night must not alarm on the way. Where no known state is near, it waits for nothing. No engine,
no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from calibration.baseline.baseline import Baseline
from calibration.drift.monitor import DriftMonitor, DriftStatus
from calibration.stats.moments import MeanVar

Change = Literal["alarm", "returned", "switched"]

DRIFT = "+"
"""Before a patch id among the names: no baseline's name has it."""

PLAUSIBLE = 8.0
"""The newest few frames may be this many thresholds away from a state that they belong to: a mean of 8 instead of 32
frames has four times the variance, and neighbours are alike."""


FITS = 1.0
"""Below its own threshold."""
MARGIN = 0.5
"""How much nearer another baseline must be; twice in a row back and forth needs a factor of four."""
KEPT = 0.5
"""One in use that fits this well is kept: two baselines of like states would take turns by chance."""


@dataclass(frozen=True, slots=True)
class KnownBaselines:
    """The states to watch for."""

    baselines: Mapping[str, Baseline]
    """Healthy states by name; at least one."""
    in_use: str
    drifts: Mapping[str, Baseline] = field(default_factory=dict)
    """By patch id, the drift that it was accepted for."""


class NearestBaseline:
    """Which baseline the camera is nearest to, with hysteresis: the scores are compared as shares of the thresholds."""

    def __init__(self, in_use: str, patience_frames: int) -> None:
        """``patience_frames`` is how long another one must lead; as long as two windows are apart."""
        self.in_use, self._patience = in_use, patience_frames
        self._leader: str | None = None
        self._led_frames = 0

    def update(self, shares: Mapping[str, float]) -> bool:
        """Take in one more frame's scores (as shares of the thresholds) by baseline; True when another took over."""
        leader = self._challenger(shares)
        self._led_frames = self._led_frames + 1 if leader is not None and leader == self._leader else 0
        self._leader = leader
        if leader is None or self._led_frames < self._patience:
            return False
        self.in_use, self._leader, self._led_frames = leader, None, 0
        return True

    def _challenger(self, shares: Mapping[str, float]) -> str | None:
        others = {name: share for name, share in shares.items() if name != self.in_use}
        own = shares.get(self.in_use)
        if not others or own is None or own < KEPT:
            return None
        best = min(others, key=lambda name: others[name])
        return best if others[best] < FITS and others[best] <= MARGIN * own else None


class BaselineSelector:
    """The monitors of all known states, which baseline is in use, and whether there is a drift from it."""

    def __init__(self, in_use: str, monitor: DriftMonitor, window_frames: int) -> None:
        """Begin with the baseline that was last in use; others join with ``add`` as they are opened."""
        self._nearest = NearestBaseline(in_use, window_frames // 2)
        self._monitors, self._drifts = {in_use: monitor}, dict[str, DriftMonitor]()
        self._statuses: dict[str, DriftStatus] = {}
        self._window, self._stride = window_frames, max(1, window_frames // 4)
        self._waited: int | None = None
        self._is_alarm_owed = self._was_sustained = False

    def add(self, name: str, monitor: DriftMonitor, *, is_drift: bool = False) -> None:
        """Watch for one more state: a baseline, or the known drift of a patch."""
        if is_drift:
            self._drifts[DRIFT + name] = monitor
        else:
            self._monitors[name] = monitor

    def forget_drift(self, patch: str) -> None:
        """Watch for the known drift of this patch no longer."""
        self._drifts.pop(DRIFT + patch, None)

    @property
    def in_use(self) -> str:
        """Name of the baseline that drift is measured against."""
        return self._nearest.in_use

    @property
    def status(self) -> DriftStatus | None:
        """Of the baseline in use; None before the first frame."""
        return self._statuses.get(self.in_use)

    @property
    def is_drifted(self) -> bool:
        """From an alarm until the score has returned to healthy."""
        return self._was_sustained and self._waited is None

    @property
    def known_drift(self) -> str | None:
        """The patch whose drift this is: the camera shows that drift again, and not the baseline."""
        status = self.status
        if status is None:
            return None
        shares = {patch: self._share(patch) for patch, monitor in self._drifts.items() if monitor.fits}
        best = min(shares, key=lambda patch: shares[patch], default=None)
        if best is None or shares[best] > MARGIN * self._own_share:
            return None
        return best.removeprefix(DRIFT)

    def is_nearer_to_drift(self, patch: str) -> bool:
        """Whether the camera shows the drift that a patch was accepted for rather than the baseline in use.

        By the scores of the latest window alone; False before it is full, or when that drift is not watched.
        """
        name = DRIFT + patch
        if name not in self._statuses or not self._statuses[name].ready:
            return False
        return self._share(name) < self._share(self.in_use)

    def scores(self) -> dict[str, tuple[float, float]]:
        """(score, threshold) of every baseline that is watched."""
        return {
            name: (status.score, status.threshold)
            for name, status in self._statuses.items()
            if name in self._monitors
        }

    def update(self, moments: Mapping[str, MeanVar], now_s: float) -> Change | None:
        """Take in one frame's moments; gives the change by it."""
        monitors = {**self._monitors, **self._drifts}
        self._statuses = {name: monitor.update(moments, now_s) for name, monitor in monitors.items()}
        shares = {name: self._share(name) for name in self._monitors if self._statuses[name].ready}
        if self._nearest.update({**shares, self.in_use: self._own_share}):
            self._take_over()
            return "switched"
        return self._judge(self._statuses[self.in_use])

    def _take_over(self) -> None:
        name = self.in_use
        self._monitors[name].begin_anew()
        self._statuses[name] = replace(
            self._statuses[name], alarm=False, sustained=False, cusum=0.0, verdict="healthy"
        )
        self._waited, self._is_alarm_owed, self._was_sustained = None, False, False

    def _judge(self, status: DriftStatus) -> Change | None:
        """The change for the baseline in use; an alarm only when no other known state can be the reason."""
        if not status.sustained:
            was_drifted = self.is_drifted
            self._waited, self._is_alarm_owed, self._was_sustained = None, False, False
            return "returned" if was_drifted else None
        if not self._was_sustained:
            self._was_sustained, self._waited = True, 0
        self._is_alarm_owed |= status.alarm
        if self._waited is not None:
            self._waited += 1
            if self._may_be_known():
                return None
            self._waited = None
        if not self._is_alarm_owed:
            return None
        self._is_alarm_owed = False
        return "alarm"

    def _may_be_known(self) -> bool:
        assert self._waited is not None
        if self._waited > self._window + self._window // 2 or self.known_drift is not None:
            return False
        others = [monitor for name, monitor in self._monitors.items() if name != self.in_use]
        return any(monitor.newest(self._stride) < PLAUSIBLE for monitor in (*others, *self._drifts.values()))

    @property
    def _own_share(self) -> float:
        """How far the camera is from the baseline in use; a slow drift counts.

        That of the others does not: having long been away from them is no drift.
        """
        status = self._statuses[self.in_use]
        return max(self._share(self.in_use), status.cusum / status.cusum_threshold)

    def _share(self, name: str) -> float:
        """Of its own threshold; that few contents raise the alarm's level is left aside: states are to compare."""
        return self._statuses[name].score
