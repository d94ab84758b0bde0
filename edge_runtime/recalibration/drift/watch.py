"""Live drift: sampled frames through the model's first taps, compared with the known states of the site.

The *probe* is a small model made at commissioning: the first layers of the bundle, with the per-channel mean and
variance of each as outputs. It runs in the controller's thread on sampled frames only, so that it costs a small share
of the engine's time. The statistics and thresholds are ``calibration.drift.monitor``'s.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from calibration.baseline.baseline import Baseline
from calibration.drift.monitor import DriftMonitor, DriftSettings, DriftStatus
from calibration.errors import CalibrationError
from calibration.stats.moments import ANSWERS_TAP, INPUT_TAP
from calibration.stats.output_features import class_features, detection_features, value_features
from calibration.stats.sensor_features import has_sensor_features, sensor_features
from edge_runtime.config import DriftConfig
from edge_runtime.datatypes import Result
from edge_runtime.inference.engines.base import Engine
from edge_runtime.messaging.events import DriftFigures
from edge_runtime.recalibration.context import compute_input_moments
from edge_runtime.recalibration.drift.baseline_selector import BaselineSelector, Change, KnownBaselines

log = structlog.get_logger()

QUIET_SHARE = DriftSettings().clear_share  # the same hysteresis as for a drift that was seen to end
MEAN, VARIANCE = "/mean", "/var"

OpenProbe = Callable[[Path], Engine]
"""(probe model's file) -> its engine. Raises CalibrationError, EngineError, OSError."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A probe and the states that its outputs are compared with."""

    probe: Engine
    states: BaselineSelector
    window_frames: int
    waiting: deque[Callable[[], None]] = field(default_factory=deque)
    """States still to be opened: drawing thresholds takes 0.4 s each, so one is opened a look."""
    seen_at_s: deque[float] = field(default_factory=deque)
    """Capture times of the latest window."""
    make_monitor: Callable[[Baseline], DriftMonitor] | None = None
    """For drifts that become known later; None takes no further one."""
    drifts: set[str] = field(default_factory=set)
    """Patches whose drifts are watched for, opened already or waiting."""


class DriftWatch:
    """The drift of one model's input from the baseline in use; there is none while no comparison is open.

    One thread opens, looks and closes; everything else may be read from any thread.
    """

    def __init__(self, open_probe: OpenProbe | None, *, channel_axis: int = 0) -> None:
        """``open_probe`` None never opens a comparison: for work on the files alone."""
        self._open_probe, self._channel_axis = open_probe, channel_axis
        self._comparison: Comparison | None = None

    def open(self, known: KnownBaselines, probe: Path, settings: DriftConfig) -> None:
        """Compare with these states from now on; all are of the model that the probe was made from.

        Raises:
            CalibrationError: the baseline in use has too few frames, or its taps do not fit each other.
            EngineError, OSError: the probe cannot be used.
        """
        self.close()
        if self._open_probe is None:
            return
        window, rng = settings.window_frames, np.random.default_rng(0)
        wanted = DriftSettings(
            window_frames=window,
            stride_frames=max(1, window // 4),
            apart_frames=window // 2,
            sample_every_s=settings.sample_every_s,
            cooldown_s=settings.cooldown_s,
        )

        def make_monitor(state: Baseline) -> DriftMonitor:
            return DriftMonitor(state.moments, state.frames, wanted, rng)

        states = BaselineSelector(known.in_use, make_monitor(known.baselines[known.in_use]), window)

        def join(name: str, state: Baseline) -> None:
            states.add(name, make_monitor(state))

        others = {name: state for name, state in known.baselines.items() if name != known.in_use}
        waiting = deque[Callable[[], None]](partial(join, name, state) for name, state in others.items())
        seen_at_s = deque[float](maxlen=window)
        self.compare(
            Comparison(self._open_probe(probe), states, window, waiting, seen_at_s, make_monitor=make_monitor)
        )
        self.follow_drifts(known.drifts)

    def follow_drifts(self, drifts: Mapping[str, Baseline]) -> None:
        """Watch for these known drifts, by patch, and for no other one; those watched already go on."""
        comparison = self._comparison
        if comparison is None or comparison.make_monitor is None:
            return
        states, make_monitor, watched = comparison.states, comparison.make_monitor, comparison.drifts
        for patch in watched - drifts.keys():
            states.forget_drift(patch)
            watched.discard(patch)

        def join(patch: str, seen: Baseline) -> None:
            if patch in watched:  # it may have been forgotten while it waited
                states.add(patch, make_monitor(seen), is_drift=True)

        for patch, seen in drifts.items():
            if patch not in watched:
                watched.add(patch)
                comparison.waiting.append(partial(join, patch, seen))

    def compare(self, comparison: Comparison) -> None:
        """Use this comparison from now on."""
        self._comparison = comparison

    def close(self) -> None:
        """Free the probe; idempotent."""
        comparison, self._comparison = self._comparison, None
        if comparison is not None:
            comparison.probe.close()

    @property
    def is_open(self) -> bool:
        """Whether there is something to compare with."""
        return self._comparison is not None

    @property
    def in_use(self) -> str | None:
        """Name of the baseline that drift is measured against."""
        comparison = self._comparison
        return None if comparison is None else comparison.states.in_use

    @property
    def known_drift(self) -> str | None:
        """The patch that was accepted for the drift of now; None when there is none, or none that was seen before."""
        comparison = self._comparison
        if comparison is None or not comparison.states.is_drifted:
            return None
        return comparison.states.known_drift

    @property
    def drift_score(self) -> float | None:
        """Distance from the baseline while there is a drift, from its alarm until its end; else None."""
        comparison, status = self._comparison, self._status
        if comparison is None or status is None or not comparison.states.is_drifted:
            return None
        return status.score

    @property
    def is_quiet(self) -> bool:
        """Enough was seen to tell that there is no drift now: two windows, both scores well below the threshold."""
        comparison, status = self._comparison, self._status
        if comparison is None or status is None or status.sustained:
            return False
        is_seen = status.frames >= 2 * comparison.window_frames
        return is_seen and status.score < QUIET_SHARE  # whatever few contents would excuse

    def is_nearer_to_drift(self, patch: str) -> bool:
        """Whether the camera shows the drift that ``patch`` was accepted for rather than the baseline in use."""
        comparison = self._comparison
        return comparison is not None and comparison.states.is_nearer_to_drift(patch)

    @property
    def window_began_at_s(self) -> float:
        """Capture time of the oldest frame of the latest window; 0 before the first."""
        comparison = self._comparison
        return comparison.seen_at_s[0] if comparison is not None and comparison.seen_at_s else 0.0

    def scores(self) -> dict[str, tuple[float, float]]:
        """(score, threshold) by baseline."""
        comparison = self._comparison
        return {} if comparison is None else comparison.states.scores()

    @property
    def _status(self) -> DriftStatus | None:
        comparison = self._comparison
        return None if comparison is None else comparison.states.status

    def look(self, tensor: NDArray[np.float32], at_s: float, result: Result | None = None) -> Change | None:
        """Take in one prepared sample (without batch axis), with its answer.

        Returns:
            The change by it: a drift is noticed, it has gone, or another baseline fits now; mostly None.

        Raises:
            EngineError: the probe failed.
        """
        comparison = self._comparison
        if comparison is None:
            return None
        _open_one(comparison.waiting)
        outputs = comparison.probe.infer(tensor[np.newaxis])
        sample = np.moveaxis(tensor, self._channel_axis, 0)
        moments = {INPUT_TAP: compute_input_moments(tensor, self._channel_axis)}
        if has_sensor_features(sample.shape):
            moments |= sensor_features(sample)
        for name in outputs:
            tap = name.removesuffix(MEAN)
            if tap != name:
                moments[tap] = (_flatten(outputs[name]), _flatten(outputs[tap + VARIANCE]))
        if result is not None and result.top:
            moments[ANSWERS_TAP] = class_features(result.top[0].index, result.top[0].score)
        elif result is not None and result.detections is not None:
            moments[ANSWERS_TAP] = detection_features([found.score for found in result.detections])
        elif result is not None and (numbers := _list_numbers(result)):
            moments[ANSWERS_TAP] = value_features(numbers)
        comparison.seen_at_s.append(at_s)
        return comparison.states.update(moments, at_s)

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
            drifted=self.drift_score is not None,
            verdict=status.verdict,
            sign=status.sign,
            answers_score=None if status.deep_score is None else round(status.deep_score, 4),
            frames=status.frames,
        )


def _open_one(waiting: deque[Callable[[], None]]) -> None:
    if not waiting:
        return
    try:
        waiting.popleft()()
    except CalibrationError as err:
        log.error("a known state cannot be watched for", reason=str(err))


def _list_numbers(result: Result) -> list[float]:
    """The model's own numbers of a regression, or its score; none of other answers."""
    if result.anomaly is not None:
        return [result.anomaly.score]
    return [one.raw for one in result.values or () if one.raw is not None]


def _flatten(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.astype(np.float64).ravel()
