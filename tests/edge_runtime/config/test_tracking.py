"""The section ``tracking`` of a camera: live, and refused where its library is not installed."""

import pytest

from edge_runtime.config import Effect, changes, load, parse_config
from edge_runtime.errors import ConfigError

TEXT = """
device: box
state_dir: /tmp/none
models: {people: {bundle: people}}
cameras:
  street:
    path: rtsp://street/1
    model: people
    tracking: %s
"""


def parse(section):
    return parse_config(TEXT % section, "box.yaml", {})


def test_an_edit_counts_at_once():
    assert set(changes(parse("null"), parse("{}")).values()) == {Effect.LIVE}
    assert set(changes(parse("{}"), parse("{lost_s: 5}")).values()) == {Effect.LIVE}


def test_without_the_library_it_is_refused_at_its_line(monkeypatch):
    monkeypatch.setattr(load, "TRACKER", "no_such_library")
    assert parse("null").cameras["street"].tracking is None
    with pytest.raises(ConfigError) as raised:
        parse("{}")
    (problem,) = raised.value.problems
    assert (problem.where, problem.line) == ("cameras.street.tracking", 9)
    assert "edge-runtime[tracking]" in problem.expected


def test_pictures_of_objects_need_the_right_that_pictures_may_leave():
    with pytest.raises(ConfigError) as raised:
        parse("{pictures: true}")
    assert [one.where for one in raised.value.problems] == ["cameras.street.snapshots"]
    assert parse("{pictures: true}\n    snapshots: true").cameras["street"].tracking.pictures
