"""How the cameras and models do, for the topic ``figures``. Pure."""

from collections.abc import Mapping
from typing import Any

from edge_runtime.config import RolloutConfig
from edge_runtime.daemon.model_runtime import ModelStatus
from edge_runtime.deployment.rollout_status import RolloutStatus
from edge_runtime.messaging.events import DriftFigures


class Rates:
    """Results a second of each stream, between two looks."""

    def __init__(self) -> None:
        self._results: dict[str, int] = {}
        self._at_s = float("-inf")

    def update(self, results: Mapping[str, int], now_s: float) -> dict[str, float | None]:
        """By stream, since the look before; None at its first look.

        Args:
            results: By stream, how many there were so far.
            now_s: Monotonic.
        """
        before, seconds = self._results, now_s - self._at_s
        self._results, self._at_s = dict(results), now_s
        return {
            stream: round(max(0, count - before[stream]) / seconds, 2)
            if stream in before and seconds > 0
            else None
            for stream, count in results.items()
        }


def count_results(models: Mapping[str, ModelStatus]) -> dict[str, int]:
    """By stream, results of all models: a camera may have been given to another one."""
    counts: dict[str, int] = {}
    for model in models.values():
        for stream, status in model.streams.items():
            counts[stream] = counts.get(stream, 0) + status.results
    return counts


def describe_figures(
    models: Mapping[str, ModelStatus],
    rollouts: Mapping[str, RolloutConfig | None],
    rates: Mapping[str, float | None],
) -> dict[str, Any]:
    """The message.

    Args:
        models: All that run.
        rollouts: By model, how its newer versions are tried.
        rates: By camera, results a second.
    """
    return {
        "cameras": {stream: {"fps": rate} for stream, rate in rates.items()},
        "models": {name: _describe_model(one, rollouts.get(name)) for name, one in models.items()},
    }


def _describe_model(status: ModelStatus, plan: RolloutConfig | None) -> dict[str, Any]:
    latency = status.total_ms
    drift = None if status.recalibration is None else status.recalibration.drift
    known = drift if isinstance(drift, DriftFigures) and drift.ready else None
    figures: dict[str, Any] = {
        "latency_p50_ms": None if latency is None else latency.p50,
        "latency_p99_ms": None if latency is None else latency.p99,
        "drift_score": None if known is None else round(known.score, 3),
        "drift_alarm": None if known is None else known.drifted,
    }
    if plan is not None and status.rollout is not None:
        figures["update"] = describe_update(status.rollout, plan)
    return figures


def describe_update(status: RolloutStatus, plan: RolloutConfig) -> dict[str, Any]:
    """The versions in the words of Home Assistant's update entity, which takes no others and no other null.

    A candidate that waits for a person is not in progress: only then can it be installed there.
    """
    is_moving = status.candidate is not None and status.paused is None
    at = status.promotes_at
    return {
        **({} if at is None else {"release_summary": f"It answers everything from {at} on."}),
        "installed_version": str(status.active),
        "latest_version": str(status.candidate or status.active),
        "in_progress": is_moving,
        "update_percentage": _find_percentage(status, plan) if is_moving else None,
    }


def _find_percentage(status: RolloutStatus, plan: RolloutConfig) -> int | None:
    """How far a candidate is: stages that have no frames are left out, the others count the same."""
    frames = {"shadow": plan.shadow.frames, "canary": plan.canary.frames}
    stages = [*(stage for stage, wanted in frames.items() if wanted), "watched"]
    if status.stage not in stages:
        return 0
    part = (status.stage_s or 0.0) / plan.watch_s
    if status.stage in frames:
        candidate = status.figures.get("candidate")
        part = 0.0 if candidate is None else candidate.frames / frames[status.stage]
    return int(100 * (stages.index(status.stage) + min(1.0, part)) / len(stages))
