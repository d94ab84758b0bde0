"""Live drift: sampled frames through the model's first taps, and the drift that they show.

The *probe* is a small model made at commissioning: the first layers of the bundle, with the per-channel mean and
variance of each as outputs. It runs in the controller's thread on sampled frames only, so that it costs a small share
of the engine's time. The statistics and thresholds are ``calibration.drift.monitor``'s.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from calibration.baseline.baseline import Baseline
from calibration.drift.monitor import DriftMonitor, DriftSettings, DriftStatus
from calibration.errors import CalibrationError
from calibration.stats.moments import ANSWERS_TAP, INPUT_TAP, MeanVar
from calibration.stats.output_features import class_features, detection_features
from calibration.stats.sensor_features import has_sensor_features, sensor_features
from edge_runtime.config import DriftConfig
from edge_runtime.datatypes import Result
from edge_runtime.inference.engines.base import Engine
from edge_runtime.messaging.events import DriftFigures
from edge_runtime.recalibration.drift.baseline_selector import BaselineSelector, Change, KnownBaselines

log = structlog.get_logger()

QUIET_SHARE = DriftSettings().clear_share  # the same hysteresis as for a drift that was seen to end
MEAN, VARIANCE = "/mean", "/var"


@dataclass(frozen=True, slots=True)
class AnsweredDrift:
    """The drift that has been answered already: by a patch, or by the roll-back of one."""

    score: float | None = None
    """Its drift score then; None when no drift is answered."""

    def covers(self, score: float) -> bool:
        """Whether a drift of this score is still that one; one that has moved far asks for another answer."""
        return bool(self.score) and 0.5 <= score / (self.score or 1.0) <= 2.0


class LiveDriftMonitor:
    """The drift of one model's input since its baseline. Owned by the controller's thread."""

    def __init__(
        self,
        probe: Engine,
        states: BaselineSelector,
        window_frames: int,
        channel_axis: int,
        waiting: Iterable[Callable[[], None]] = (),
    ) -> None:
        """``waiting`` are states still to be opened: drawing thresholds takes 0.4 s each, so one is opened a look."""
        self._probe, self._states, self._channel_axis = probe, states, channel_axis
        self._window_frames, self._waiting = window_frames, deque(waiting)
        self._seen_at_s: deque[float] = deque(maxlen=window_frames)

    @classmethod
    def open(
        cls,
        known: KnownBaselines,
        probe: Engine,
        settings: DriftConfig,
        rng: np.random.Generator,
        *,
        channel_axis: int,
    ) -> "LiveDriftMonitor":
        """The watch of a site's known states; all of the model that ``probe`` was made from.

        Raises:
            CalibrationError: the baseline in use has too few frames, or its taps do not fit each other.
        """
        wanted = DriftSettings(
            window_frames=settings.window_frames,
            stride_frames=max(1, settings.window_frames // 4),
            apart_frames=settings.window_frames // 2,
            sample_every_s=settings.sample_every_s,
            cooldown_s=settings.cooldown_s,
        )
        first = known.baselines[known.in_use]
        monitor = DriftMonitor(first.moments, first.frames, wanted, rng)
        states = BaselineSelector(known.in_use, monitor, settings.window_frames)

        def opening(name: str, state: Baseline, is_drift: bool) -> Callable[[], None]:
            def join() -> None:
                monitor = DriftMonitor(state.moments, state.frames, wanted, rng)
                states.add(name, monitor, is_drift=is_drift)

            return join

        others = [opening(name, b, False) for name, b in known.baselines.items() if name != known.in_use]
        drifts = [opening(patch, seen, True) for patch, seen in known.drifts.items()]
        return cls(probe, states, settings.window_frames, channel_axis, [*others, *drifts])

    @property
    def _status(self) -> DriftStatus | None:
        return self._states.status

    @property
    def in_use(self) -> str:
        """Name of the baseline that drift is measured against."""
        return self._states.in_use

    @property
    def known_drift(self) -> str | None:
        """The patch that was accepted for what the camera shows now; None when this is no drift seen before."""
        return self._states.known_drift if self.is_drifted else None

    def scores(self) -> dict[str, tuple[float, float]]:
        """(score, threshold) by baseline."""
        return self._states.scores()

    @property
    def score(self) -> float:
        """Distance of the latest window from the baseline, 1 being alarming; 0 before the first."""
        return 0.0 if self._status is None else self._status.score

    @property
    def is_drifted(self) -> bool:
        """From an alarm until the score has returned to healthy."""
        return self._states.is_drifted

    @property
    def is_quiet(self) -> bool:
        """Enough was seen to tell that there is no drift now: two windows, both scores well below the threshold."""
        status = self._status
        if status is None or status.frames < 2 * self._window_frames or status.sustained:
            return False
        return status.score < QUIET_SHARE * status.threshold

    @property
    def window_began_at_s(self) -> float:
        """Capture time of the oldest frame of the latest window."""
        return self._seen_at_s[0] if self._seen_at_s else 0.0

    def look(self, tensor: NDArray[np.float32], at_s: float, result: Result | None = None) -> Change | None:
        """Take in one prepared sample (without batch axis), with its answer.

        Returns:
            The change by it: a drift is noticed, it has gone, or another baseline fits now; mostly None.

        Raises:
            EngineError: the probe failed.
        """
        self._open_one()
        outputs = self._probe.infer(tensor[np.newaxis])
        sample = np.moveaxis(tensor, self._channel_axis, 0)
        moments = {INPUT_TAP: self._input_moments(tensor)}
        if has_sensor_features(sample.shape):
            moments |= sensor_features(sample)
        for name in outputs:
            tap = name.removesuffix(MEAN)
            if tap != name:
                moments[tap] = (_wide(outputs[name]), _wide(outputs[tap + VARIANCE]))
        if result is not None and result.top:
            moments[ANSWERS_TAP] = class_features(result.top[0].index, result.top[0].score)
        elif result is not None and result.detections is not None:
            moments[ANSWERS_TAP] = detection_features([found.score for found in result.detections])
        self._seen_at_s.append(at_s)
        return self._states.update(moments, at_s)

    def figures(self) -> DriftFigures | None:
        """Rounded for people and machines; None before the first frame."""
        status = self._status
        if status is None:
            return None
        return DriftFigures(
            ready=status.ready,
            score=round(status.score, 4),
            threshold=round(status.threshold, 4),
            cusum=round(status.cusum, 3),
            cusum_threshold=round(status.cusum_threshold, 3),
            drifted=self.is_drifted,
            verdict=status.verdict,
            sign=status.sign,
            answers_score=None if status.deep_score is None else round(status.deep_score, 4),
            frames=status.frames,
        )

    def close(self) -> None:
        """Free the probe."""
        self._probe.close()

    def _open_one(self) -> None:
        if not self._waiting:
            return
        try:
            self._waiting.popleft()()
        except CalibrationError as err:
            log.error("a known state cannot be watched for", reason=str(err))

    def _input_moments(self, tensor: NDArray[np.float32]) -> MeanVar:
        axes = tuple(axis for axis in range(tensor.ndim) if axis != self._channel_axis)
        return tensor.mean(axis=axes, dtype=np.float64), tensor.var(axis=axes, dtype=np.float64)


def _wide(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.astype(np.float64).ravel()
