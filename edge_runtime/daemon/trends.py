"""Samples the figures of the daemon over time, for the charts of the dashboard.

The main thread does it, every few seconds, from counters that there are anyway: it costs a frame nothing. What it keeps
is in memory only, so a restart begins anew; metrics.md says how to keep figures for longer.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.trend_ring import LEVELS, Figure, TrendRing
from edge_runtime.inference.metrics import Latency
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.event_text import describe
from edge_runtime.messaging.events import (
    DriftAlarm,
    DriftFigures,
    Event,
    Fact,
    PatchProposed,
    PatchTried,
    Recalibrated,
    RecalibrationRefused,
    RolledBack,
    RolloutMoved,
    TaskFailed,
)
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes

MOST_MARKS = 200


def classify_mark(fact: Fact) -> str | None:
    """What a moment is called in a chart; None for events that no chart shows."""
    match fact:
        case DriftAlarm():
            return "alarm"
        case Recalibrated():
            return "recalibrated"
        case RecalibrationRefused() | TaskFailed(task="recalibrate", dry_run=False):
            return "refused"
        case PatchProposed():
            return "proposed"
        case PatchTried(outcome="active"):
            return "promoted"
        case RolloutMoved(before=before, stage="active") if before != "active":
            return "promoted"
        case RolledBack():
            return "rollback"
    return None


@dataclass(slots=True)
class _Seen:
    """Counters at the sample before."""

    at_s: float
    results: dict[tuple[str, str], int] = field(default_factory=dict)
    lost: dict[tuple[str, str | None], int] = field(default_factory=dict)
    answered: dict[str, tuple[Latency, int]] = field(default_factory=dict)


class Trends:
    """Safe from any thread but for :meth:`tick`, which is the main thread's."""

    def __init__(self, running: Running, cameras: Cameras, delivery: Delivery, crashes: Crashes) -> None:
        self._crashes = crashes
        self._running, self._cameras, self._delivery = running, cameras, delivery
        self._lock, self._ring = threading.Lock(), TrendRing()
        self._marks: deque[tuple[str, Event]] = deque(maxlen=MOST_MARKS)
        self._last_event: Event | None = None
        self._seen: _Seen | None = None

    def tick(self, now_s: float) -> None:
        """Sample when it is time; ``now_s`` is monotonic."""
        step_s = LEVELS[0].step_s
        if self._seen is not None and now_s // step_s == self._seen.at_s // step_s:
            return
        with self._crashes.contain("trends", log_once=True):  # a chart is not worth the daemon
            self._add(now_s)

    def _add(self, now_s: float) -> None:
        before, self._seen = self._seen, _Seen(now_s)
        values = dict(self._sample(self._seen, before))
        marks = list(self._find_marks())
        with self._lock:
            self._marks += marks
            if before is not None:
                self._ring.add(values, (before.at_s + now_s) / 2)

    def read(self, span_s: float, after: int) -> dict[str, Any]:
        """Every figure of the last ``span_s`` seconds whose step has a number above ``after``; moments of all of them.

        Values are float32 (n,), null where there is none; the step ``first + i`` begins at
        ``offset_s + (first + i) * step_s`` seconds since 1970.
        """
        now_s, now_wall_s = time.monotonic(), time.time()
        with self._lock:
            found, marks = self._ring.read(span_s, now_s, after), list(self._marks)
        return {
            "first": found.first,
            "steps": found.steps,
            "step_s": found.step_s,
            "offset_s": round(now_wall_s - now_s, 3),
            "now_s": round(now_wall_s, 3),
            "figures": [
                {"name": one.name, "model": one.model, "part": one.part, "values": values}
                for one, values in found.values.items()
                if not np.isnan(values).all()
            ],
            "marks": [
                {
                    "kind": kind,
                    "at": format_rfc3339(event.at_wall_s),
                    "model": event.model,
                    "text": describe(event.fact)[0],
                }
                for kind, event in marks
                if event.at_wall_s >= now_wall_s - span_s
            ],
        }

    def _sample(self, seen: _Seen, before: _Seen | None) -> Iterator[tuple[Figure, float]]:
        models = dict(self._running.models)
        for name, runtime in models.items():
            yield from _sample_rates(name, runtime, seen, before)
            yield from _sample_latency(name, runtime, seen, before)
            yield from _sample_drift(name, runtime)
        for owner, reason, count in self._count_lost(models):
            key = (reason, owner)
            seen.lost[key] = seen.lost.get(key, 0) + count
        for (reason, owner), count in seen.lost.items():
            if before is not None and count > before.lost.get((reason, owner), 0):
                yield Figure("lost", "sum", owner, reason), count - before.lost.get((reason, owner), 0)

    def _count_lost(self, models: dict[str, ModelRuntime]) -> Iterator[tuple[str | None, str, int]]:
        """Model, reason, and how many frames or messages were lost by it so far."""
        for stream in self._cameras.counts().values():
            yield None, "dropped at the source", stream.dropped
        for name, runtime in models.items():
            metrics, counters = runtime.pipeline.metrics, runtime.pipeline.scheduler.counters
            yield name, "queue full", counters.dropped_oldest
            yield name, "too old", counters.dropped_stale
            yield name, "engine failed", metrics.lost_to_errors
            for stream_metrics in list(metrics.streams.values()):
                for reason, count in dict(stream_metrics.rejected).items():
                    yield name, f"rejected: {reason}", count
        for channel in self._delivery.channels:
            for column, count in channel.count_since_start().items():
                if column.startswith("dropped_by_"):
                    yield None, f"{channel.name}: {column.removeprefix('dropped_by_')}", count

    def _find_marks(self) -> Iterator[tuple[str, Event]]:
        """Of the events since the look before."""
        events = self._delivery.events()
        new = _after(events, self._last_event)
        self._last_event = events[-1] if events else None
        for event in new:
            kind = classify_mark(event.fact)
            if kind is not None:
                yield kind, event


def _after(events: list[Event], last: Event | None) -> Iterable[Event]:
    """Those behind ``last``; all when it is no longer there."""
    found = deque[Event]()
    for event in reversed(events):
        if event is last:
            break
        found.appendleft(event)
    return found


def _sample_rates(
    name: str, runtime: ModelRuntime, seen: _Seen, before: _Seen | None
) -> Iterator[tuple[Figure, float]]:
    for stream, metrics in list(runtime.pipeline.metrics.streams.items()):
        seen.results[name, stream] = metrics.results
        if before is not None and (name, stream) in before.results:
            rate = max(0, metrics.results - before.results[name, stream]) / (seen.at_s - before.at_s)
            yield Figure("results_per_s", "mean", name, stream), rate


def _sample_latency(
    name: str, runtime: ModelRuntime, seen: _Seen, before: _Seen | None
) -> Iterator[tuple[Figure, float]]:
    latency = runtime.pipeline.metrics.total_ms
    earlier, count = (latency, 0) if before is None else before.answered.get(name, (latency, 0))
    values, now = latency.since(count if earlier is latency else 0)
    seen.answered[name] = (latency, now)
    if values:
        p50, p99 = np.percentile(values, [50, 99])
        yield Figure("latency_p50_ms", "mean", name), float(p50)
        yield Figure("latency_p99_ms", "most", name), float(p99)


def _sample_drift(name: str, runtime: ModelRuntime) -> Iterator[tuple[Figure, float]]:
    drift = None if runtime.controller is None else runtime.controller.status().drift
    if isinstance(drift, DriftFigures) and drift.ready:
        yield Figure("drift_score", "mean", name), drift.score
        yield Figure("drift_threshold", "most", name), drift.threshold
