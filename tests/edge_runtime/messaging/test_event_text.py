"""What an event says: an edit names its keys or its problems, and every type has words."""

import pytest

from edge_runtime.messaging.event_text import describe, is_trouble
from edge_runtime.messaging.events import (
    ConfigApplied,
    ConfigRefused,
    ConfigUndone,
    DeliveryTrouble,
    DriftAlarm,
    DriftFigures,
    HealthChanged,
    PatchProposed,
    PatchTried,
    RolloutMoved,
    StateDamaged,
    TaskFailed,
    VersionSkipped,
)
from tools.document.event_examples import EXAMPLES

TROUBLE = (
    ConfigRefused
    | ConfigUndone
    | DeliveryTrouble
    | DriftAlarm
    | HealthChanged
    | PatchProposed
    | StateDamaged
    | TaskFailed
    | VersionSkipped
)


def edit(changed, waiting=()):
    return describe(ConfigApplied(tuple(changed), tuple(waiting)))


def test_an_edit_says_what_changed_and_what_waits():
    assert edit(["models.a.threads"]) == ["configuration edit applied: models.a.threads"]
    assert edit(["device", "drift.window_frames"], ["device"]) == [
        "configuration edit applied: drift.window_frames",
        "configuration edit that waits for a restart: device",
    ]
    assert edit(["http.port"], ["http.port"]) == ["configuration edit that waits for a restart: http.port"]
    assert edit([]) == ["the configuration is the one in force again"]


def test_a_refused_edit_says_why():
    problems = ("line 3: models.a.threads: 0; expected 1 to 256",)
    assert describe(ConfigRefused(problems))[1:] == list(problems)
    assert is_trouble(ConfigRefused(problems))
    assert not is_trouble(ConfigApplied((), ()))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_event_has_a_headline_and_trouble_is_a_warning(name):
    fact = EXAMPLES[name][0]
    assert all(describe(fact))
    is_over = isinstance(fact, HealthChanged) and fact.state == "well"
    is_refused = isinstance(fact, RolloutMoved) and (fact.stage == "refused" or fact.paused is not None)
    is_refused |= isinstance(fact, PatchTried) and fact.outcome in ("refused", "inconclusive")
    warns = isinstance(fact, ConfigApplied) and fact.warnings != ()
    assert is_trouble(fact) == (is_refused or warns or (isinstance(fact, TROUBLE) and not is_over))


@pytest.mark.parametrize("is_lasting", [False, True])
def test_a_failure_that_lasts_says_when_it_is_tried_again(is_lasting):
    assert len(describe(TaskFailed("recalibrate", "too dark", "schedule", is_lasting))) == 1 + is_lasting


@pytest.mark.parametrize(
    ("score", "cusum", "shown"), [(1.62, 0.8, "1.62"), (0.295, 1.21, "1.21"), (1.5, 1.2, "1.5")]
)
def test_an_alarm_names_the_figure_that_raised_it(score, cusum, shown):
    figures = DriftFigures(True, score, 1.0, cusum, 1.0, True, "sensor", "layers", None, 64)
    assert shown in describe(DriftAlarm(figures))[0].replace(",", " ").split()
