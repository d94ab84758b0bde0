"""What an event is counted as."""

import pytest

from edge_runtime.messaging.event_counts import EventCounts, classify
from edge_runtime.messaging.events import DriftAlarm, Event, RolloutMoved, TaskFailed
from tools.document.event_examples import EXAMPLES, FIGURES

COUNTED = {
    "applied": ("config", "applied"),
    "applied with a warning": ("config", "applied"),
    "config refused": ("config", "refused"),
    "safe mode": ("config", "refused"),
    "config undone": ("config", "undone"),
    "rollout refused": ("rollout", "refused"),
    "recalibration failed": ("recalibration", "failed"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_event_is_counted_as_what_it_is_or_not_at_all(name: str) -> None:
    fact, kind, data = EXAMPLES[name]
    found = classify(fact)
    if name in COUNTED:
        assert found == COUNTED[name]
    elif kind == "recalibration" and not data.get("dry_run"):
        assert found is not None
        assert found[0] == "recalibration"
    else:
        assert found == {"drift": ("drift", "seen"), "rollback": ("rollback", "seen")}.get(kind)


def test_a_dry_run_and_a_pause_at_the_end_of_the_way_count_nothing() -> None:
    assert classify(TaskFailed("recalibrate", "killed", "command", False, dry_run=True)) is None
    assert classify(RolloutMoved("parts/3", "parts/2", "active", "active", "so")) is None
    assert classify(RolloutMoved("parts/3", "parts/2", "watched", "active", "so")) == ("rollout", "active")


def test_counts_are_by_model() -> None:
    counts = EventCounts()
    for model in ("parts", "parts", "people"):
        counts.add(Event(0.0, DriftAlarm(FIGURES), model))
    assert [counts.get(("drift", "seen"), model) for model in ("parts", "people", "nobody", None)] == [
        2,
        1,
        0,
        0,
    ]
