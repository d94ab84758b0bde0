"""What a recording gets of a running daemon: whole frames, their answers, and never more than fits."""

from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.datatypes import Flaw, Frame, Rejected, RejectReason
from edge_runtime.errors import CommandError
from edge_runtime.inference.postprocess.postprocessor import Answer
from edge_runtime.recordings.feed import MOST_RAW_BYTES, Feed, TakenAnswer, TakenRejection, Taking
from tests.support.recordings import make_result


def frame_of(seq, at_s=0.0, picture=None, stream="belt"):
    picture = np.full((4, 4, 3), seq, np.uint8) if picture is None else picture
    return Frame(stream, seq, picture, at_s, 1e9)


def begin(feed, **options):
    usual = {"streams": frozenset({"belt"}), "least_gap_s": 0.0, "is_allowed": lambda _: True}
    taking = Taking(**{**usual, **options})
    feed.begin(taking)
    return taking


def take_all(taking):
    found = []
    while (one := taking.take(0.0)) is not None:
        found.append(one)
    return found


def test_a_frame_comes_before_its_answer_and_is_not_written_over():
    feed = Feed()
    taking, buffer, outputs = begin(feed), np.zeros((4, 4, 3), np.uint8), np.zeros(3, np.float32)
    feed.offer_frame(frame_of(1, picture=buffer))
    feed.note_result(make_result(1), {"y": outputs})
    buffer[:], outputs[:] = 9, 9
    frame, answer = take_all(taking)
    assert frame.payload.max() == 0
    assert isinstance(answer, TakenAnswer)
    assert answer.raw["y"].max() == 0
    assert taking.is_complete


def test_answers_to_frames_that_were_not_taken_are_passed_over():
    feed = Feed()
    feed.offer_frame(frame_of(0))
    taking = begin(feed)
    feed.note_result(make_result(0), {})
    feed.offer_frame(frame_of(1))
    feed.offer_frame(frame_of(1, stream="gate"))
    feed.note_rejection("parts", Rejected("gate", 1, RejectReason.EMPTY, ""))
    feed.note_rejection("parts", Rejected("belt", 1, RejectReason.EMPTY, ""))
    frame, answer = take_all(taking)
    assert (frame.stream, frame.seq) == ("belt", 1)
    assert isinstance(answer, TakenRejection)


def test_what_does_not_fit_is_left_out_and_there_is_room_again_afterwards():
    feed = Feed()
    taking = begin(feed, queue_bytes=100)  # two frames of 48 bytes
    for seq in range(4):
        feed.offer_frame(frame_of(seq))
    assert taking.left_out == 2
    assert [frame.seq for frame in take_all(taking)] == [0, 1]
    feed.offer_frame(frame_of(5))
    assert [frame.seq for frame in take_all(taking)] == [5]


def test_large_raw_outputs_are_not_kept():
    feed = Feed()
    taking = begin(feed)
    feed.offer_frame(frame_of(0))
    feed.note_result(make_result(0), {"y": np.zeros(MOST_RAW_BYTES + 1, np.uint8)})
    assert take_all(taking)[1].raw is None


def test_raw_outputs_that_do_not_fit_are_left_out_of_their_answers():
    """Pictures may be small and outputs large: a taker that takes nothing must not fill the memory with these."""
    feed = Feed()
    taking = begin(feed, queue_bytes=100)
    for seq in range(2):
        feed.offer_frame(frame_of(seq, picture=b"x"))
        feed.note_result(make_result(seq), {"y": np.zeros(60, np.uint8)})
        assert taking.room_bytes == 100 - 60 - (1 + seq)
    answers = [one for one in take_all(taking) if isinstance(one, TakenAnswer)]
    assert [one.raw is not None for one in answers] == [True, False]
    assert taking.room_bytes == 100


def test_an_answer_that_does_not_fit_is_passed_over():
    feed = Feed()
    taking = begin(feed, queue_bytes=100)
    feed.offer_frame(frame_of(0, picture=b"x"))
    feed.note_result(make_result(0, Answer(outputs={"y": np.zeros(101, np.uint8)})), {"y": np.zeros(101)})
    assert [type(one) for one in take_all(taking)] == [Frame]
    assert (taking.is_complete, taking.room_bytes) == (True, 100)


def test_a_permission_that_is_taken_away_ends_its_frames():
    feed, allowed = Feed(), {"belt"}
    taking = begin(feed, is_allowed=allowed.__contains__)
    feed.offer_frame(frame_of(0))
    allowed.clear()
    feed.offer_frame(frame_of(1))
    assert [frame.seq for frame in take_all(taking)] == [0]


@pytest.mark.parametrize(("fps", "kept"), [(10, 10), (5, 5), (30, 10), (3, 3)])
def test_takes_so_many_frames_a_second(fps, kept):
    feed = Feed()
    taking = begin(feed, least_gap_s=1 / fps)
    for seq in range(10):  # at 10 a second, a little early and late in turn
        feed.offer_frame(frame_of(seq, at_s=100 + seq / 10 + (0.001 if seq % 2 else 0.0)))
    assert abs(len(take_all(taking)) - kept) <= 1


def test_a_file_is_read_at_once_and_one_that_is_gone_is_left_out(tmp_path):
    path = tmp_path / "1.jpg"
    path.write_bytes(b"\xff\xd8\xff...")
    feed = Feed()
    taking = begin(feed)
    feed.offer_frame(replace(frame_of(0), payload=path))
    path.unlink()
    feed.offer_frame(replace(frame_of(1), payload=path))
    assert [frame.payload for frame in take_all(taking)] == [b"\xff\xd8\xff..."]
    assert taking.left_out == 1


def test_one_at_a_time():
    feed = Feed()
    begin(feed)
    with pytest.raises(CommandError):
        begin(feed)
    feed.end()
    begin(feed)


def test_no_more_frames_but_their_answers():
    feed = Feed()
    taking = begin(feed)
    feed.offer_frame(frame_of(0))
    taking.stop_frames()
    feed.offer_frame(frame_of(1))
    assert not taking.is_complete
    feed.note_result(make_result(0), {})
    assert [type(one) for one in take_all(taking)] == [Frame, TakenAnswer]
    assert taking.is_complete


def test_what_its_source_could_not_read_is_not_taken():
    feed = Feed()
    taking, flaw = begin(feed), Flaw(RejectReason.BAD_SHAPE, "three of two")
    feed.offer_frame(replace(frame_of(1), payload=b"", flaw=flaw))
    feed.note_rejection("parts", Rejected("belt", 1, flaw.reason, flaw.detail))
    assert take_all(taking) == []
    assert taking.is_complete
