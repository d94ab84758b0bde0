"""Files and streams that differ from those of a plain camera: sound, covers, odd rates, colours and text."""

import random
import time

import av
import cv2
import numpy as np
import pytest

from edge_runtime.errors import SourceLost
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.capture_protocol import VideoOptions
from edge_runtime.sources.reopen import Backoff
from edge_runtime.sources.video import VideoSource
from edge_runtime.sources.video_stream import VideoStream
from tests.support.video_clips import encode_clip, number_of, write_turned_clip
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


def play(path, **options):
    """The pictures of a file, and the counters at its end."""
    source = VideoSource(
        "belt",
        str(path),
        VideoOptions(**{"pace": "fastest"} | options),
        backoff=Backoff(random.Random(0), first_s=0.01, limit_s=0.01),
    )
    pictures, deadline_s = [], time.monotonic() + WAIT_S
    try:
        while time.monotonic() < deadline_s:
            frame = source.read(0.5)
            if frame is not None:
                pictures.append(np.array(frame.payload))
    except EndOfStream:
        return pictures, source.stats()
    finally:
        source.close()
    raise AssertionError(f"no end of the stream: {source.stats()}")


def numbers_of(pictures):
    return [number_of(picture) for picture in pictures]


@pytest.mark.parametrize("name", ["belt.mp4", "belt.ts", "belt.mkv"])
def test_a_video_with_sound_is_played(tmp_path, name):
    pictures, counts = play(encode_clip(tmp_path / name, range(20), has_sound=True))
    assert numbers_of(pictures) == list(range(20))
    assert (counts.restarts, counts.last_problem) == (0, None)


def test_the_cover_of_a_film_is_not_the_film(tmp_path):
    film, cover = encode_clip(tmp_path / "film.mp4", range(20)), tmp_path / "cover.jpg"
    cv2.imwrite(str(cover), np.zeros((64, 64, 3), np.uint8))
    with (
        av.open(str(cover)) as picture,
        av.open(str(film)) as given,
        av.open(str(tmp_path / "a.mp4"), "w") as file,
    ):
        streams = [
            (one, file.add_stream_from_template(one)) for one in (picture.streams[0], given.streams[0])
        ]
        streams[0][1].disposition = av.stream.Disposition.attached_pic
        for source, target in streams:
            for packet in source.container.demux(source):
                if packet.size:
                    packet.stream = target
                    file.mux(packet)
    pictures, _ = play(tmp_path / "a.mp4")
    assert numbers_of(pictures) == list(range(20))


def test_a_title_that_is_no_utf8_hides_no_video(tmp_path):
    path = encode_clip(tmp_path / "plain.avi", range(10), "mjpeg", "yuvj420p")
    with av.open(str(path)) as given, av.open(str(tmp_path / "a.avi"), "w") as file:
        file.metadata["title"] = "belt"
        stream = file.add_stream_from_template(given.streams[0])
        for packet in given.demux():
            packet.stream = stream
            file.mux(packet)
    data = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(data.replace(b"belt", b"b\xe4lt", 1))
    pictures, _ = play(tmp_path / "a.avi")
    assert numbers_of(pictures) == list(range(10))


def test_a_text_is_no_video(tmp_path):
    (tmp_path / "notes.txt").write_text("this is a text\n" * 100)
    with pytest.raises(SourceLost, match=r"notes\.txt"):
        play(tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("codec", "pixel_format", "is_bt709"),
    [
        ("libx264", "yuv420p", True),
        ("libx264", "yuv420p10le", True),
        ("libx264", "yuvj420p", False),
        ("libx264", "yuv444p", False),
        ("libx265", "yuv420p", True),
        ("mpeg4", "yuv420p", False),
        ("mjpeg", "yuvj422p", False),
    ],
)
def test_colours_are_those_that_the_stream_says(tmp_path, codec, pixel_format, is_bt709):
    """As the picture was before it was encoded; a wrong matrix moves saturated colours by 4 levels on average."""
    path = encode_clip(tmp_path / "a.mkv", range(2), codec, pixel_format, is_bt709=is_bt709)
    pictures, _ = play(path)
    _, image = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()
    assert np.abs(pictures[0].astype(int) - image).mean() < 0.5


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_video_whose_frames_come_at_odd_times_is_whole(tmp_path, name):
    numbers = [0, 1, 2, 3, 4, 5, 6, 7, 30, 60, 61]
    pictures, counts = play(encode_clip(tmp_path / name, numbers))
    assert numbers_of(pictures) == numbers
    assert counts.last_problem is None


def test_a_film_cut_in_its_middle_is_whole_as_far_as_its_header_says(tmp_path):
    """What comes before the first key frame in it cannot be shown, and is not missing."""
    whole = encode_clip(tmp_path / "whole.ts", range(60), options={"g": "20"}).read_bytes()
    (tmp_path / "cut.ts").write_bytes(whole[len(whole) // 2 // 188 * 188 :])
    pictures, counts = play(tmp_path / "cut.ts")
    assert 0 < len(pictures) < 60
    assert numbers_of(pictures) == list(range(60 - len(pictures), 60))
    assert counts.last_problem is None


def test_a_turned_film_fits_into_the_size_when_it_is_upright(tmp_path):
    pictures, _ = play(write_turned_clip(tmp_path / "a.mp4", 90), size=(160, 160))
    assert {picture.shape for picture in pictures} == {(160, 96, 3)}
    pictures, _ = play(write_turned_clip(tmp_path / "a.mp4", 90), size=(320, 80))
    assert {picture.shape for picture in pictures} == {(80, 48, 3)}


def test_a_size_that_changes_in_the_middle_is_taken_as_it_is(tmp_path):
    sizes = [(320, 192), (640, 384), (160, 96)]
    parts = [encode_clip(tmp_path / f"{size[0]}.h264", range(10), size=size) for size in sizes]
    (tmp_path / "all.h264").write_bytes(b"".join(part.read_bytes() for part in parts))
    pictures, _ = play(tmp_path / "all.h264")
    assert numbers_of(pictures) == [*range(10)] * 3
    assert [picture.shape for picture in pictures[::10]] == [(192, 320, 3), (384, 640, 3), (96, 160, 3)]


def test_a_picture_that_ffmpeg_cannot_convert_is_skipped(tmp_path):
    video = VideoStream(str(encode_clip(tmp_path / "belt.mp4", range(2))), {}, (WAIT_S, WAIT_S))
    memory = memoryview(bytearray(64 * 64 * 3))
    assert video.write(av.VideoFrame(64, 64, "gray32le"), memory) is None
    assert video.write(av.VideoFrame(64, 64, "gray"), memory) == (64, 64, 3)
    video.close()
