"""Messages of a sensor become frames of its windows."""

import numpy as np
import pytest

from edge_runtime.datatypes import Origin, RejectReason
from edge_runtime.inference.specs import SignalSpec
from edge_runtime.sources.window_frames import WindowFrames

SPEC = SignalSpec.model_validate(
    {"kind": "signal", "channels": [{"name": "a"}], "rate_hz": 10, "length": 4, "late_s": 1.0,
     "payload": {"format": "raw"}}
)  # fmt: skip


def raw(*values):
    return np.array(values, "<f4").tobytes()


@pytest.fixture
def frames():
    return WindowFrames("pump", lambda: SPEC)


def put(frames, payload, at_wall_s=1000.0, sent_at_wall_s=None):
    origin = None if sent_at_wall_s is None else Origin(captured_at_wall_s=sent_at_wall_s)
    frames.put(payload, at_wall_s, at_wall_s, origin)
    found = []
    while (frame := frames.next_frame()) is not None:
        found.append(frame)
    return found


def test_samples_without_times_have_that_of_their_message(frames):
    assert put(frames, raw(1, 2), sent_at_wall_s=1000.1) == []
    assert put(frames, raw(5, 6, 7, 8), sent_at_wall_s=1000.7) == []  # overtook the one before
    assert put(frames, raw(3, 4), sent_at_wall_s=1000.3) == []
    later = put(frames, raw(*range(9, 24)), sent_at_wall_s=1002.2)
    assert [frame.payload.ravel().tolist() for frame in later[:2]] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert later[0].captured_at_wall_s == pytest.approx(1000.3)


def test_a_message_that_cannot_be_read_is_no_part_of_a_window_that_only_counts(frames):
    assert put(frames, raw(1, 2)) == []
    [refused] = put(frames, b"\x00\x00\x00")
    assert refused.flaw.reason is RejectReason.BAD_SHAPE
    [window] = put(frames, raw(5, 6, 7, 8)) or frames_at_end(frames)
    assert window.payload.ravel().tolist() == [5, 6, 7, 8]


def frames_at_end(frames):
    frames.finish(0.0)
    return [frames.next_frame()]
