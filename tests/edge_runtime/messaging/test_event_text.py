"""What an event says: an edit names its keys or its problems, and no event is lost for want of words."""

import pytest

from edge_runtime.messaging.event_text import is_trouble, words_of


def edit(changed, waiting=()):
    return words_of("config", {"accepted": True, "changed": list(changed), "after_restart": list(waiting)})


def test_an_edit_says_what_changed_and_what_waits():
    assert edit(["models.a.threads"]) == ["configuration edit applied: models.a.threads"]
    assert edit(["device", "drift.window_frames"], ["device"]) == [
        "configuration edit applied: drift.window_frames",
        "configuration edit that waits for a restart: device",
    ]
    assert edit(["http.port"], ["http.port"]) == ["configuration edit that waits for a restart: http.port"]
    assert edit([]) == ["the configuration is again what is in force"]


def test_a_refused_edit_says_why():
    refused = {"accepted": False, "problems": ["line 3: models.a.threads: 0; expected 1 to 256"]}
    assert words_of("config", refused)[1:] == refused["problems"]
    assert is_trouble("config", refused)
    assert not is_trouble("config", {"accepted": True})


@pytest.mark.parametrize(
    "kind", ["drift", "config", "commissioned", "recalibration", "baseline", "rollback", "new"]
)
def test_an_event_with_other_data_is_shown_as_it_is(kind):
    assert words_of(kind, {"accepted": True, "odd": 1})
