"""What a picture's sender says about it, within bounds."""

import pytest

from edge_runtime.datatypes import Origin
from edge_runtime.sources.mqtt_origin import read_origin


def test_a_message_that_says_nothing_has_no_origin():
    assert read_origin() is None
    assert read_origin(content_type=None, properties=()) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"correlation": b"42"}, Origin(correlation=b"42")),
        ({"correlation": b""}, Origin(correlation=b"")),
        ({"correlation": b"\x00" * 1024}, Origin(correlation=b"\x00" * 1024)),
        ({"correlation": b"x" * 1025}, Origin(left_out=("correlation",))),
        ({"content_type": "image/jpeg"}, Origin(content_type="image/jpeg")),
        ({"content_type": "ü" * 129}, Origin(left_out=("content_type",))),
        ({"properties": [("lot", "A7"), ("lot", "A8")]}, Origin(properties=(("lot", "A7"), ("lot", "A8")))),
        ({"properties": [("n", str(i)) for i in range(17)]}, Origin(left_out=("properties",))),
        ({"properties": [("n", "ü" * 2048)]}, Origin(left_out=("properties",))),
        (
            {"properties": [("captured_at", "2026-11-23T15:20:59.5Z"), ("lot", "A7")]},
            Origin(captured_at_wall_s=1795447259.5, properties=(("lot", "A7"),)),
        ),
        (
            {"properties": [("captured_at", "2026-11-23T16:20:59+01:00")]},
            Origin(captured_at_wall_s=1795447259.0),
        ),
        ({"properties": [("captured_at", "2026-11-23T15:20:59")]}, Origin(left_out=("captured_at",))),
        ({"properties": [("captured_at", "yesterday")]}, Origin(left_out=("captured_at",))),
        ({"properties": [("captured_at", "")]}, Origin(left_out=("captured_at",))),
        ({"properties": [("captured_at", "1" * 65535)]}, Origin(left_out=("captured_at",))),
        ({"properties": [("captured_at", "0001-01-01T00:00:00+23:59")]}, Origin(left_out=("captured_at",))),
        ({"response_topic": "mine/answers"}, Origin(response_topic="mine/answers")),
        ({"response_topic": "door/open"}, Origin(left_out=("response_topic",))),
    ],
)
def test_it_is_taken_as_it_is_or_left_out_by_name(given, kept):
    assert read_origin(**given, may_answer=lambda topic: topic.startswith("mine/")) == kept
