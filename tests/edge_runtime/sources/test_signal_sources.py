import json
import os
import threading
from itertools import count, pairwise

import numpy as np
import pytest

from edge_runtime.datatypes import Origin, RejectReason
from edge_runtime.errors import SourceLost
from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.specs import SignalSpec
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.input_lines import InputLines
from edge_runtime.sources.mqtt_signals import MqttSignalsSource
from edge_runtime.sources.signal_files import SignalFileSource
from edge_runtime.sources.signal_folder import SignalFolderSource
from edge_runtime.sources.signal_lines import SignalLinesSource

BEGAN_S = 1_700_000_000.0


def spec_of(length=4, *, hop=None, **payload):
    return SignalSpec.model_validate({
        "kind": "signal", "channels": [{"name": "x"}, {"name": "y"}], "rate_hz": 10.0, "length": length,
        "hop": hop or length, "payload": payload,
    })  # fmt: skip


def records(first, count, **more):
    return json.dumps([{"x": i, "y": -i, **more} for i in range(first, first + count)]).encode()


def firsts_of(frames):
    """The first number of each window, or why there is none."""
    return [frame.payload[0, 0] if frame.flaw is None else frame.flaw.reason for frame in frames]


def read_all(source):
    found = []
    while True:
        try:
            frame = source.read(0)
        except EndOfStream:
            return found
        if frame is None:
            return found
        found.append(frame)


def mqtt(spec, **options):
    return MqttSignalsSource("pump", lambda: spec, clock=lambda: 50.0, wall_clock=lambda: 1000.0, **options)


def test_a_message_completes_no_window_one_or_several():
    source = mqtt(spec_of())
    for first, samples in ((0, 3), (3, 1), (4, 9)):
        source.offer(records(first, samples), received_at_s=40.0, origin=Origin(correlation=b"%d" % first))
    frames = read_all(source)
    assert firsts_of(frames) == [0, 4, 8]
    assert [frame.seq for frame in frames] == [0, 1, 2]
    assert [frame.origin.correlation for frame in frames] == [b"3", b"4", b"4"]
    assert {(frame.captured_at_s, frame.rate_hz) for frame in frames} == {(40.0, 10.0)}
    assert frames[2].captured_at_wall_s == pytest.approx(990.0 - 0.1)  # one sample came after its last
    counts = source.stats()
    assert (counts.captured, counts.delivered, counts.dropped, counts.samples) == (3, 3, 0, 13)


def test_a_message_that_cannot_be_read_is_a_frame_with_its_flaw_and_its_samples_are_lost():
    source = mqtt(spec_of())
    source.offer(records(0, 2), 1.0)
    source.offer(b"rubbish", 2.0)
    source.offer(records(2, 4), 3.0)
    assert firsts_of(read_all(source)) == [RejectReason.UNREADABLE, 2]


def test_an_error_that_no_check_foresaw_is_a_flaw(monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("edge_runtime.sources.window_frames.read_payload", fail)
    source = mqtt(spec_of())
    source.offer(records(0, 4), 1.0)
    (frame,) = read_all(source)
    assert frame.flaw.reason is RejectReason.UNREADABLE
    assert isinstance(frame.flaw.error, RuntimeError)


@pytest.mark.parametrize("limits", [{"capacity": 2}, {"capacity": 9, "max_bytes": 80}])
def test_the_oldest_messages_are_dropped_and_what_follows_begins_a_new_window(limits):
    source = mqtt(spec_of(), **limits)
    for first in (0, 2, 4, 6):
        source.offer(records(first, 2), 1.0)
    assert firsts_of(read_all(source)) == [4]
    counts = source.stats()
    assert (counts.captured, counts.delivered, counts.dropped) == (3, 1, 2)
    source.offer(b"x" * 100_000_000, 1.0)
    source.close()
    assert source.stats().captured == source.stats().delivered + source.stats().dropped == 4


def test_a_topic_on_which_nothing_has_come_is_the_problem_until_something_does():
    source = mqtt(spec_of(), expected_on="plant/pump/accel")
    assert "plant/pump/accel" in source.stats().last_problem
    source.offer(records(0, 1), 1.0)
    assert read_all(source) == []
    assert source.stats().last_problem is None
    assert mqtt(spec_of()).stats().last_problem is None


def test_another_bundle_makes_other_windows_while_the_stream_is_open():
    specs = [spec_of(4)]
    source = MqttSignalsSource("pump", lambda: specs[-1])
    source.offer(records(0, 6), 1.0)
    assert firsts_of(read_all(source)) == [0]
    specs.append(spec_of(2))
    source.offer(records(6, 4), 2.0)
    assert [frame.payload.shape for frame in read_all(source)] == [(2, 2), (2, 2)]
    assert source.stats().samples == 10


def test_messages_that_complete_no_window_do_not_hold_a_reader_for_longer_than_it_waits():
    spec, clock = spec_of(1000), Clock(0.1)
    source = MqttSignalsSource("pump", lambda: spec, clock=clock, wall_clock=lambda: 1000.0)
    for first in range(100):
        source.offer(records(first, 1), 1.0)
    assert source.read(1.0) is None
    assert 0 < source.stats().samples < 20


def test_times_of_the_payload_are_the_times_of_windows():
    source = mqtt(spec_of(time="t"))
    for i in (0, 1, 3, 2):
        source.offer(json.dumps({"t": BEGAN_S + i / 10, "x": i, "y": 0}).encode(), 1.0)
    (frame,) = read_all(source)
    assert np.isnan(frame.payload[2, 0])  # it was late, and late_s is 0
    assert frame.captured_at_wall_s == pytest.approx(BEGAN_S + 0.3, abs=1e-6)
    assert source.stats().late_samples == 1


class Clock:
    """Moves by a step at each look."""

    def __init__(self, step_s=0.1):
        self.looks = count(0, step_s)

    def __call__(self):
        return next(self.looks)


LINES = [f"{i},{-i}" for i in range(1000)]
FILES = {
    "a.csv": "\n".join(["x,y", *LINES]).encode(),
    "a.jsonl": b"\n".join(records(i, 1) for i in range(1000)),
    "a.json": records(0, 1000),
    "a.npy": write_npy(np.array([[i, -i] for i in range(1000)], np.float32)),
    "a.raw": np.array([[i, -i] for i in range(1000)], "<f4").tobytes(),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_one_stream_of_samples(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    spec = spec_of(7)
    source = SignalFileSource("pump", tmp_path / name, lambda: spec, is_paced=False, first_seq=5)
    frames = read_all(source)
    assert firsts_of(frames) == list(range(0, 994, 7))
    assert (frames[0].seq, frames[0].origin.name) == (5, name)
    assert (source.stats().delivered, source.stats().samples) == (142, 1000)


def test_a_line_that_cannot_be_read_costs_its_piece(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(records(0, 4) + b"\nrubbish\n\n" + records(4, 4))
    spec = spec_of()
    source = SignalFileSource("pump", tmp_path / "a.jsonl", lambda: spec, is_paced=False)
    assert firsts_of(read_all(source)) == [0, RejectReason.UNREADABLE, 4]


def test_windows_do_not_reach_over_lines_that_are_lost(tmp_path):
    lines = [*LINES[:300], "a,b", *LINES[301:600]]
    (tmp_path / "a.csv").write_text("\n".join(["x,y", *lines]))
    spec = spec_of(7)
    source = SignalFileSource("pump", tmp_path / "a.csv", lambda: spec, is_paced=False)
    firsts = firsts_of(read_all(source))
    assert firsts == [*range(0, 250, 7), RejectReason.BAD_DTYPE, *range(512, 594, 7)]
    assert source.stats().gaps == 1


def test_remarks_in_front_of_a_header_and_between_lines_are_no_samples(tmp_path):
    lines = ["# of the gateway", "", "x,y", *LINES[:400], "# changed the battery", *LINES[400:]]
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    spec = spec_of(7)
    source = SignalFileSource("pump", tmp_path / "a.csv", lambda: spec, is_paced=False)
    assert firsts_of(read_all(source)) == list(range(0, 994, 7))


def test_a_file_begins_again_when_another_bundle_comes_into_force(tmp_path):
    (tmp_path / "a.npy").write_bytes(FILES["a.npy"])
    specs = [spec_of(4)]
    source = SignalFileSource("pump", tmp_path / "a.npy", lambda: specs[-1], is_paced=False)
    assert firsts_of(source.read(0) for _ in range(3)) == [0, 4, 8]
    turned = SignalSpec.model_validate(specs[0].model_dump() | {"channels": [{"name": "y"}, {"name": "x"}]})
    specs.append(turned.model_copy(update={"length": 400, "hop": 400}))
    frames = read_all(source)
    assert [(frame.payload.shape, frame.channels) for frame in frames] == [((400, 2), ("y", "x"))] * 2
    assert [frame.seq for frame in frames] == [3, 4]


def test_a_file_comes_at_the_pace_of_the_sensor(tmp_path):
    (tmp_path / "a.npy").write_bytes(FILES["a.npy"])
    spec = spec_of(20)  # 2 s
    source = SignalFileSource("pump", tmp_path / "a.npy", lambda: spec, clock=Clock())
    assert source.read(0) is not None
    assert source.read(0) is None


def test_a_looped_file_begins_again(tmp_path):
    (tmp_path / "a.npy").write_bytes(FILES["a.npy"])
    spec = spec_of(400)
    source = SignalFileSource("pump", tmp_path / "a.npy", lambda: spec, is_paced=False, loop=True)
    assert firsts_of(source.read(0) for _ in range(5)) == [0, 400, 0, 400, 0]


@pytest.mark.parametrize(("content", "options"), [(b"x,y\n1,2\n", {}), (FILES["a.npy"], {"max_bytes": 100})])
def test_a_file_without_a_window_or_too_large_is_a_lost_source(content, options, tmp_path):
    path = tmp_path / ("a.csv" if content.startswith(b"x") else "a.npy")
    path.write_bytes(content)
    spec = spec_of()
    with pytest.raises(SourceLost):
        SignalFileSource("pump", path, lambda: spec, is_paced=False, **options).read(0)
    with pytest.raises(SourceLost):
        SignalFileSource("pump", tmp_path / "none.npy", lambda: spec, is_paced=False).read(0)


def test_each_file_of_a_folder_is_by_itself(tmp_path):
    (tmp_path / "2.json").write_bytes(records(20, 9))
    (tmp_path / "10.json").write_bytes(b"rubbish")
    (tmp_path / "1.npy").write_bytes(write_npy(np.full((4, 2), 7.0)))
    (tmp_path / "notes.txt").touch()
    spec = spec_of()
    source = SignalFolderSource("pump", tmp_path, lambda: spec, is_paced=False)
    frames = read_all(source)
    assert source.stats().samples == 12
    assert firsts_of(frames) == [7, 20, 24, RejectReason.UNREADABLE]
    assert [frame.origin.name for frame in frames] == ["1.npy", "2.json", "2.json", "10.json"]
    assert [frame.seq for frame in frames] == [0, 1, 2, 3]


def test_a_file_of_a_watched_folder_is_settled_with_its_last_window(tmp_path):
    (tmp_path / "1.json").write_bytes(records(0, 8))
    clock, spec = Clock(0.6), spec_of()
    source = SignalFolderSource("pump", tmp_path, lambda: spec, is_paced=False, watch=True, clock=clock)
    frames = []
    while len(frames) < 2:
        frame = source.read(1)
        frames += [] if frame is None else [frame]
    assert [frame.settle is None for frame in frames] == [True, False]
    frames[1].settle(True)
    assert source.read(0) is None
    source.close()
    with pytest.raises(EndOfStream):
        source.read(1)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        (b"x,y\n" + b"\n".join(line.encode() for line in LINES[:9]), {"format": "csv"}),
        (b"# a\n\nx,y\n" + b"\n# b\n".join(line.encode() for line in LINES[:9]), {"format": "csv"}),
        (b"\n".join(records(i, 1) for i in range(9)) + b"\n", {}),
    ],
    ids=["csv", "remarks", "json"],
)
def test_each_line_of_standard_input_is_a_message(text, payload):
    out, into = os.pipe()
    spec = spec_of(**payload)
    source = SignalLinesSource("pump", lambda: spec, InputLines(out))
    try:
        assert source.read(0) is None
        writer = threading.Thread(target=lambda: (os.write(into, text), os.close(into)))
        writer.start()
        assert firsts_of([source.read(60), source.read(60)]) == [0, 4]
        writer.join()
        with pytest.raises(EndOfStream):
            source.read(60)
    finally:
        os.close(out)
    assert source.stats().samples == 9


def test_standard_input_takes_no_binary_payload():
    spec = spec_of(format="raw")
    with pytest.raises(SourceLost):
        SignalLinesSource("pump", lambda: spec, InputLines())


def test_another_source_goes_on_with_the_lines_that_are_left_behind_the_header_of_before():
    out, into = os.pipe()
    os.write(into, b"y,x\n" + b"\n".join(line.encode() for line in LINES[:9]) + b"\n")
    os.close(into)
    lines, found = InputLines(out), []
    for length in (4, 5):
        spec = spec_of(length, format="csv")
        source = SignalLinesSource("pump", lambda spec=spec: spec, lines)
        found.append(source.read(60).payload.tolist())
        source.close()
        with pytest.raises(EndOfStream):
            source.read(0)
    os.close(out)
    assert found == [[[-i, i] for i in range(4)], [[-i, i] for i in range(4, 9)]]


def test_a_line_that_is_too_long_is_one_refusal_and_its_end_is_no_sample():
    out, into = os.pipe()
    spec = SignalSpec.model_validate({
        "kind": "signal", "channels": [{"name": "x"}], "length": 2, "payload": {"format": "csv", "has_header": False},
    })  # fmt: skip
    source = SignalLinesSource("pump", lambda: spec, InputLines(out))
    text = b"1" * (3 << 19) + b"\n2\n3\n"
    writer = threading.Thread(target=lambda: (os.write(into, text), os.close(into)))
    writer.start()
    assert firsts_of([source.read(60), source.read(60)]) == [RejectReason.TOO_LARGE, 2]
    writer.join()
    with pytest.raises(EndOfStream):
        source.read(60)
    os.close(out)


def shared(frames):
    """How many samples each frame shares with the one before."""
    return [max(0, a.slots.stop - b.slots.start) for a, b in pairwise(frames)]


def test_frames_say_which_samples_they_share(tmp_path):
    spec = spec_of(4, hop=1)
    for name in ("a", "b"):
        (tmp_path / f"{name}.npy").write_bytes(write_npy(np.arange(12.0).reshape(6, 2)))
    folder = SignalFolderSource("pump", tmp_path, lambda: spec, is_paced=False)
    assert shared(read_all(folder)) == [3, 3, 0, 3, 3]
    looped = SignalFileSource("pump", tmp_path / "a.npy", lambda: spec, is_paced=False, loop=True)
    assert shared([looped.read(0) for _ in range(6)]) == [3, 3, 0, 3, 3]
