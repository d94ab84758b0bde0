"""A silent camera counts as lost; one that sends data and has sent no key frame yet does not."""

import itertools
import socket
import threading
from pathlib import Path

import pytest

from edge_runtime.sources.sign_of_life import SignOfLife, received_so_far
from tests.support.waiting import until


@pytest.mark.parametrize(
    ("picture_at_s", "data_at_s", "now_s", "words"),
    [
        (None, 100.0, 103.9, None),
        (None, 100.0, 104.1, "no data within 4 s"),
        (None, 119.9, 120.0, None),  # data comes, no picture for 20 s: key frames may be far apart
        (None, 159.9, 159.9, None),
        (None, 160.1, 160.2, "key frames"),
        (None, 130.0, 134.5, "no data within 4 s"),
        (110.0, 110.0, 113.9, None),
        (110.0, 110.0, 114.1, "no frame within 4 s"),
        (110.0, 114.0, 114.1, "no frame within 4 s"),  # sound or reports go on, pictures do not
        (500.0, 100.0, 501.0, None),  # the limit for the first picture is over
        (500.0, 100.0, 504.5, "no frame within 4 s"),
    ],
)
def test_what_counts_as_silence(picture_at_s, data_at_s, now_s, words):
    life = SignOfLife(4.0, 60.0, on_life=lambda _: None, on_silence=lambda _: None)
    if picture_at_s is not None:
        life.note_picture(picture_at_s)
    life.note_data(data_at_s)
    problem = life._judge(now_s, begun_s=100.0)
    assert (problem is None) is (words is None)
    assert words is None or words in problem


@pytest.mark.parametrize(
    ("picture_at_s", "data_at_s", "now_s", "words"),
    [
        (110.0, 129.0, 130.0, None),
        (110.0, 125.0, 130.0, "no data within 4 s"),
        (128.0, 110.0, 130.0, None),
        (110.0, 169.9, 169.9, None),
        (110.0, 170.1, 170.2, "key frames"),
    ],
)
def test_where_only_key_frames_count_data_between_them_shows_life(picture_at_s, data_at_s, now_s, words):
    life = SignOfLife(4.0, 60.0, on_life=lambda _: None, on_silence=lambda _: None)
    life.needs_key = True
    life.note_picture(picture_at_s)
    life.note_data(data_at_s)
    problem = life._judge(now_s, begun_s=100.0)
    assert (problem is None) is (words is None)
    assert words is None or words in problem


def test_bytes_of_a_connection_are_seen():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        theirs, _ = server.accept()
        before = received_so_far()
        theirs.sendall(b"x" * 5000)
        assert until(lambda: received_so_far() >= before + 5000)
        theirs.close()
        assert ours.recv(65536)


def test_datagrams_are_seen():
    with socket.socket(type=socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiver.bind(("127.0.0.1", 0))
        before = received_so_far()

        def has_grown():
            sender.sendto(b"x", receiver.getsockname())
            receiver.recv(10)  # the kernel counts those that were read, as FFmpeg does
            return received_so_far() > before

        assert until(has_grown)


def test_looking_leaves_no_descriptor_open():
    with socket.create_server(("127.0.0.1", 0)):
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            received_so_far()
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_silent_camera_is_reported_once_and_data_keeps_it_alive():
    counter, is_sending, lives, problems = itertools.count(), threading.Event(), [], []
    is_sending.set()
    life = SignOfLife(
        0.6,
        60.0,
        lives.append,
        problems.append,
        received=lambda: next(counter) if is_sending.is_set() else -1,
    )
    life.start()
    assert until(lambda: len(lives) >= 3)
    assert problems == []
    is_sending.clear()
    assert until(lambda: problems)
    assert problems == ["no data within 0.6 s"]
