"""How the types of events become their data in JSON: one table for who writes them and for who describes them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from calibration.verdict import FrameCounts
from edge_runtime.datatypes import Generation
from edge_runtime.messaging import events

_NAMES = {"before": "from", "after": "to"}
"""Fields of every type that subscribers know by another name."""


@dataclass(frozen=True, slots=True)
class Form:
    """Where the data of a type is not just its fields under their names."""

    constants: Mapping[str, str | bool] = field(default_factory=dict)
    """Said of each value; they come first."""
    inlined: str | None = None
    """A field that is not sent itself: its own fields stand in its place."""
    unsent: str | None = None
    """A field that is not sent."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names on the wire by field."""
    sometimes: tuple[str, ...] = ()
    """Fields that are left out while they are None or False."""

    def name(self, of_field: str) -> str:
        """The name on the wire."""
        return self.names.get(of_field) or _NAMES.get(of_field, of_field)


_PLAIN = Form()
_FORMS: Mapping[type, Form] = {
    events.ConfigApplied: Form({"accepted": True}),
    events.ConfigRefused: Form({"accepted": False}),
    events.ConfigUndone: Form({"accepted": False}),
    events.DeliveryTrouble: Form({"outcome": "trouble"}),
    events.DeliveryRecovered: Form({"outcome": "recovered"}),
    events.RecordingBegun: Form({"outcome": "begun"}),
    events.RecordingEnded: Form({"outcome": "ended"}),
    events.Commissioned: Form({"outcome": "recorded"}),
    events.TaskFailed: Form({"outcome": "failed"}, unsent="task", sometimes=("dry_run",)),
    events.PatchesPaused: Form(names={"reason": "no_patch"}),
    events.DriftAlarm: Form(inlined="figures"),
    events.Recalibrated: Form({"outcome": "accepted"}, inlined="report"),
    events.RecalibrationRefused: Form({"outcome": "refused"}, inlined="report"),
    events.PatchProposed: Form({"outcome": "proposed"}, inlined="report", names={"patch": "waits"}),
    events.PatchObserved: Form({"outcome": "observed"}, inlined="report"),
    events.DryRunEnded: Form({"outcome": "dry_run"}, inlined="report"),
    events.ProposalEnded: Form(sometimes=("generation",)),
    events.PatchTried: Form(sometimes=("generation", "report")),
    events.RolloutMoved: Form(sometimes=("report",)),
    events.RecalibrationReport: Form(sometimes=("report", "is_known", "dry_run")),
    FrameCounts: Form(names={"healthy_samples": "witness"}),
}
OF_DEVICE = (
    events.ConfigApplied
    | events.ConfigRefused
    | events.ConfigUndone
    | events.DeliveryTrouble
    | events.DeliveryRecovered
    | events.HealthChanged
    | events.RecordingBegun
    | events.RecordingEnded
)
"""Events about no model."""
OLD_KINDS = ("commission", "recalibrate")
"""Under which a failed task is published a second time, for one release."""


def form_of(kind: type) -> Form:
    """How values of a type are written."""
    return _FORMS.get(kind, _PLAIN)


def kinds_of(fact: type) -> tuple[str, ...]:
    """The names under which subscribers know events of this type."""
    kind = getattr(fact, "kind", None)
    return (kind,) if isinstance(kind, str) else (events.Commissioned.kind, events.Recalibrated.kind)


def as_data(value: Any) -> dict[str, Any]:
    """A dataclass as subscribers know it."""
    form = form_of(type(value))
    data: dict[str, Any] = dict(form.constants)
    for one in fields(value):
        found = getattr(value, one.name)
        if one.name == form.inlined:
            data |= as_data(found)
        elif one.name != form.unsent and not (one.name in form.sometimes and found in (None, False)):
            data[form.name(one.name)] = _encode(found)
    return data


def _encode(value: Any) -> Any:
    if isinstance(value, Generation):
        return str(value)
    return as_data(value) if is_dataclass(value) else value
