"""An operator's commands about baselines, and their answers: list, approve, expire, remove."""

from typing import Any

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import BaselineFacts, require_name
from calibration.errors import CalibrationError
from edge_runtime.errors import CommandError
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.baselines.store import MOST
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.task import Cause, TaskRequest


class BaselineCommands:
    """Obeys the verbs about baselines."""

    def __init__(self, context: ModelContext, baselines: ActiveBaselines) -> None:
        self._baselines, self._wall_clock = baselines, context.wall_clock

    def obey(self, request: TaskRequest) -> dict[str, Any]:
        """The answer to ``baselines``, ``approve``, ``expire`` or ``remove``.

        Raises:
            CommandError: there is no such baseline, or no name was given for a removal.
            StateError: the disk refuses.
        """
        approval = request.approval
        match request.verb:
            case "approve":  # the site is as healthy as the baseline shows it; no frame is needed
                found, now_wall_s = self._named(approval.name), self._wall_clock()
                return self._note(
                    found, found.facts.approve(Cause.COMMAND, now_wall_s, approval.expires_days)
                )
            case "expire":  # no more patches from it; drift is still measured against it
                found = self._named(approval.name)
                return self._note(found, found.facts.end(self._wall_clock()))
            case "remove":
                return self._remove(approval.name)
            case _:
                return self._list()

    def require_room(self, name: str) -> None:
        """Refuse a name, or one baseline too many, before frames are collected for it.

        Raises:
            CommandError: it cannot be a name, or there are ``MOST`` others already.
        """
        try:
            require_name(name)
        except CalibrationError as err:
            raise CommandError(str(err)) from err
        names = self._baselines.store.list_names()
        if len({*names, name}) > MOST:
            raise CommandError(f"there are {MOST} baselines already; remove one first: {', '.join(names)}")

    def _list(self) -> dict[str, Any]:
        self._baselines.refresh()
        scores, now_wall_s = self._baselines.scores(), self._wall_clock()
        return {
            "in_use": self._baselines.in_use_name,
            "baselines": {
                name: {
                    **describe_baseline(baseline, now_wall_s),
                    "score": scores[name].score,
                    "threshold": scores[name].threshold,
                }
                for name, baseline in self._baselines.usable.items()
            },
            "problems": dict(self._baselines.problems),
        }

    def _remove(self, name: str | None) -> dict[str, Any]:
        """Also one that cannot be used."""
        if name is None or name not in self._baselines.store.list_names():
            raise CommandError(self._explain_unknown(name))
        self._baselines.remove(name)
        return self._list()

    def _note(self, baseline: Baseline, facts: BaselineFacts) -> dict[str, Any]:
        try:
            stored = self._baselines.note_facts(baseline.name, facts)
        except CalibrationError as err:
            raise CommandError(str(err)) from err
        return describe_baseline(stored, self._wall_clock())

    def _named(self, name: str | None) -> Baseline:
        """The usable baseline of this name; None is the one in use."""
        found = self._baselines.in_use if name is None else self._baselines.usable.get(name)
        if found is None:
            raise CommandError(self._explain_unknown(name))
        return found

    def _explain_unknown(self, name: str | None) -> str:
        there = ", ".join(self._baselines.store.list_names()) or "none yet; send 'commission'"
        return f"no usable baseline {name!r}; there are: {there}" if name else f"name a baseline: {there}"


def describe_baseline(baseline: Baseline, now_wall_s: float) -> dict[str, Any]:
    """Its facts but for the number of its pictures: it was read without them, and the number would always be 0."""
    facts = baseline.describe(now_wall_s)
    del facts["witness"]
    return facts
