"""A caller that waits for the end of one task: hears how far it is, and what became of it.

It belongs to the task that its own request began, and goes with its patch into the shadow, so that the end of another
task is never taken for it.
"""

from concurrent.futures import Future
from typing import Any

from edge_runtime.messaging.events import (
    Commissioned,
    DryRunEnded,
    PatchObserved,
    PatchProposed,
    Recalibrated,
    RecalibrationRefused,
    RecalibrationReport,
    TaskFailed,
)

TaskEnd = (
    Commissioned
    | TaskFailed
    | Recalibrated
    | RecalibrationRefused
    | PatchProposed
    | PatchObserved
    | DryRunEnded
)
"""The events that say what became of a task."""


class TaskFollower:
    """Told once, by the thread of the controller or the one that ends it; waits in another."""

    def __init__(self) -> None:
        self.end: Future[dict[str, Any]] = Future()
        """``outcome`` and the figures that go with it, in the words of the events."""

    def tell(self, end: TaskEnd) -> None:
        """The task has ended, and this was published."""
        self._set(describe_end(end))

    def give_up(self, reason: str) -> None:
        """The task, or the shadow of its patch, ends without a result."""
        self._set({"outcome": "given_up", "reasons": [reason]})

    def _set(self, end: dict[str, Any]) -> None:
        if not self.end.done():
            self.end.set_result(end)


def describe_end(end: TaskEnd) -> dict[str, Any]:
    """What became of a task, in the words of its event and without its tables; ``patch`` is the id on this box."""
    match end:
        case Commissioned(name, frames, taps, _):
            return {"outcome": "recorded", "name": name, "frames": frames, "taps": taps}
        case TaskFailed():
            return {"outcome": "failed", "reasons": [end.error], "is_lasting": end.is_lasting}
        case Recalibrated(report, generation):
            active = {"patch": generation.patch, "generation": str(generation)}
            return {"outcome": "accepted", **_describe_report(report), **active}
        case PatchProposed(report, patch):
            return {"outcome": "proposed", **_describe_report(report), "patch": patch}
        case PatchObserved(report):
            return {"outcome": "observed", **_describe_report(report)}
        case DryRunEnded(report):
            return {"outcome": "dry_run", **_describe_report(report)}
        case RecalibrationRefused(report):
            return {"outcome": "refused", **_describe_report(report)}


def _describe_report(report: RecalibrationReport) -> dict[str, Any]:
    page = {} if report.report is None else {"report": report.report}
    return {
        "accepted": report.accepted,
        "candidate": report.candidate,
        "reasons": list(report.reasons),
        "notes": list(report.notes),
        "seconds": round(report.seconds, 3),
        **page,
    }
