import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import psutil
import pytest
import structlog

from edge_runtime.errors import SourceLost
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.capture_protocol import VideoOptions
from edge_runtime.sources.reopen import Backoff
from edge_runtime.sources.video import VideoSource
from tests.support.mjpeg_camera import MjpegCamera
from tests.support.paths import ROOT
from tests.support.video_clips import number_of, write_clip, write_turned_clip
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

FASTEST = VideoOptions(pace="fastest")


@pytest.fixture
def opened():
    sources = []

    def open_source(address, options=FASTEST, **more):
        more.setdefault("backoff", Backoff(random.Random(0), first_s=0.1, limit_s=1))
        source = VideoSource("belt", str(address), options, **more)
        sources.append(source)
        return source

    yield open_source
    for source in sources:
        source.close()


@pytest.fixture
def camera():
    camera = MjpegCamera()
    yield camera
    camera.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "belt.mp4", frames=60)


def read_all(source, limit_s=WAIT_S):
    """(numbers shown in the pictures, frames without their pictures) up to the end of the stream."""
    numbers, frames = [], []
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            frame = source.read(0.5)
        except EndOfStream:
            return numbers, frames
        if frame is not None:
            numbers.append(number_of(frame.payload))
            frames.append(frame)
    raise AssertionError(f"no end of the stream: {source.stats()}")


def read_frames(source, count, limit_s=WAIT_S):
    deadline = time.monotonic() + limit_s
    frames = []
    while len(frames) < count:
        assert time.monotonic() < deadline, f"only {len(frames)} of {count} frames: {source.stats()}"
        frame = source.read(0.5)
        if frame is not None:
            frames.append((frame.seq, number_of(frame.payload), frame.payload.shape, frame.captured_at_s))
    return frames


def capture_process(parent_pid=None):
    """The one capture process below us (or below another process)."""
    children = psutil.Process(parent_pid).children()
    return next(c for c in children if "edge_runtime.sources.capture_process" in c.cmdline())


def read_until(source, condition, limit_s=WAIT_S):
    """Read until the counters show it."""
    started = time.monotonic()
    while not condition(source.stats()):
        assert time.monotonic() - started < limit_s, source.stats()
        source.read(0.05)


def test_every_frame_of_a_file_arrives_once_and_in_order(clip, opened):
    source = opened(clip, first_seq=1000)
    numbers, frames = read_all(source)
    assert numbers == list(range(60))
    assert [f.seq for f in frames] == list(range(1000, 1060))
    assert all(f.colour == "bgr" and f.stream == "belt" for f in frames)
    assert not source.is_live
    counts = source.stats()
    assert (counts.captured, counts.delivered, counts.dropped, counts.restarts) == (60, 60, 0, 0)


def test_colours_are_those_of_opencv(clip, opened):
    """Models and baselines were made with pictures that OpenCV converted."""
    _, image = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG).read()
    source = opened(clip)
    frame = next(f for f in iter(lambda: source.read(1.0), "never") if f is not None)
    difference = np.abs(frame.payload.astype(int) - image)
    assert difference.mean() < 0.5
    assert difference.max() <= 4


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_film_of_a_turned_phone_is_put_upright(tmp_path, opened, degrees):
    """As OpenCV puts it."""
    path = write_turned_clip(tmp_path / "turned.mp4", degrees)
    _, image = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()
    source = opened(path)
    frame = next(f for f in iter(lambda: source.read(1.0), "never") if f is not None)
    assert frame.payload.shape == image.shape
    assert np.abs(frame.payload.astype(int) - image).mean() < 0.5


def test_each_frame_is_counted_once_while_the_capture_process_ends(clip, opened, monkeypatch):
    source, seen = opened(clip), []
    read_frames(source, 5)
    child = source._child
    end = child.quit
    monkeypatch.setattr(child, "quit", lambda timeout_s: (seen.append(source.stats()), end(timeout_s)))
    before = source.stats()
    source.close()
    after = source.stats()
    assert before.captured <= seen[0].captured <= after.captured <= 60
    assert seen[0].delivered == after.delivered == 5


def test_the_cpu_time_of_the_capture_process_is_counted_also_when_it_has_ended(clip, opened):
    source = opened(clip)
    read_frames(source, 5)
    first = source.stats().cpu_s
    read_all(source)
    assert 0.0 < first <= source.stats().cpu_s
    source.close()
    assert source.stats().cpu_s >= first


def test_a_file_waits_for_a_slow_reader(clip, opened):
    source, slow = opened(clip), threading.Event()
    first = [f[1] for f in read_frames(source, 5)]
    slow.wait(0.5)
    rest, _ = read_all(source)
    assert first + rest == list(range(60))
    assert source.stats().dropped == 0


def test_the_fps_limit_of_a_file_goes_by_its_own_time(clip, opened):
    source = opened(clip, VideoOptions(pace="fastest", fps=5))
    numbers, _ = read_all(source)
    assert numbers == list(range(0, 60, 5))
    assert source.stats().dropped == 48


def test_native_pace_takes_the_time_of_the_file(tmp_path, opened):
    source = opened(write_clip(tmp_path / "a.avi", 26, fps=25, codec="MJPG"), VideoOptions())
    _, frames = read_all(source)
    assert frames[-1].captured_at_s - frames[0].captured_at_s == pytest.approx(1.0, abs=0.3)


def test_pace_fps_plays_every_frame_at_that_rate(tmp_path, opened):
    source = opened(write_clip(tmp_path / "a.mp4", 11), VideoOptions(pace="fps", fps=10))
    numbers, frames = read_all(source)
    assert numbers == list(range(11))
    assert frames[-1].captured_at_s - frames[0].captured_at_s == pytest.approx(1.0, abs=0.3)


def test_a_loop_begins_again_and_numbers_go_on(tmp_path, opened):
    source = opened(write_clip(tmp_path / "a.mp4", 10), VideoOptions(pace="fastest", loop=True))
    frames = read_frames(source, 35)
    assert [f[1] for f in frames] == [i % 10 for i in range(35)]
    assert [f[0] for f in frames] == list(range(35))


def test_a_killed_capture_process_loses_no_frame_of_a_file(clip, opened):
    source = opened(clip)
    numbers = [f[1] for f in read_frames(source, 20)]
    capture_process().kill()
    with structlog.testing.capture_logs() as logs:
        rest, _ = read_all(source)
    assert numbers + rest == list(range(60))
    assert any("signal 9" in line.get("reason", "") for line in logs)
    assert (source.stats().restarts, source.stats().last_problem) == (1, None)


@pytest.mark.parametrize("content", [b"", b"garbage" * 10_000, b"\x00" * 5000])
def test_a_garbage_file_is_given_up_with_a_reason(tmp_path, opened, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    source = opened(path)
    with pytest.raises(SourceLost, match=r"bad\.mp4"):
        read_until(source, lambda _: False)


def test_a_missing_file_is_given_up_with_its_name(tmp_path, opened):
    with pytest.raises(SourceLost, match=r"gone\.mp4") as caught:
        read_until(opened(tmp_path / "gone.mp4"), lambda _: False)
    assert caught.value.reason.count("gone.mp4") == 1


def test_a_cut_off_file_gives_what_it_has_and_says_so(tmp_path, opened):
    whole = write_clip(tmp_path / "whole.avi", 60, codec="MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) * 6 // 10])
    source = opened(tmp_path / "cut.avi")
    numbers, _ = read_all(source)
    assert 20 < len(numbers) < 50
    assert numbers == list(range(len(numbers)))
    assert "60" in source.stats().last_problem


def test_bytes_damaged_in_the_middle_end_no_stream(tmp_path, opened):
    path = write_clip(tmp_path / "a.avi", 60, codec="MJPG")
    data, rng = bytearray(path.read_bytes()), random.Random(3)
    for _ in range(60):
        data[rng.randrange(len(data) // 4, len(data) * 3 // 4)] = rng.randrange(256)
    path.write_bytes(data)
    source = opened(path)
    frames = 0
    try:
        while source.stats().stalls == 0 and frames < 200:
            frames += source.read(2.0) is not None
    except EndOfStream:
        pass
    assert frames >= 10


def test_frames_over_the_cap_are_refused_with_both_numbers(clip, opened):
    source = opened(clip, VideoOptions(max_frame_bytes=4096))
    with pytest.raises(SourceLost, match=r"320x192.*184320.*4096"):
        read_until(source, lambda _: False)


def test_a_live_camera_drops_the_oldest_and_counts_exactly(camera, opened):
    source = opened(camera.url, VideoOptions())
    first = read_frames(source, 5)
    before = source.stats().captured
    assert until(lambda: source.stats().captured >= before + 25)
    late = read_frames(source, 4)
    assert late[1][0] - first[-1][0] > 15
    source.close()
    counts = source.stats()
    assert counts.captured == counts.delivered + counts.dropped
    assert counts.delivered == 9
    assert counts.dropped >= 20


def test_a_frame_is_young_when_it_is_read(camera, opened):
    source = opened(camera.url, VideoOptions())
    read_frames(source, 10)
    ages = []
    while len(ages) < 20:
        frame = source.read(1.0)
        if frame is not None:
            ages.append(time.monotonic() - frame.captured_at_s)
    assert sorted(ages)[10] < 0.05


def test_a_camera_is_limited_in_its_process(camera, opened):
    source = opened(camera.url, VideoOptions(fps=5))
    frames = read_frames(source, 8)
    assert frames[-1][3] - frames[0][3] == pytest.approx(7 / 5, rel=0.2)
    assert source.stats().dropped >= 20


def test_a_camera_that_comes_back_with_another_size_is_taken_as_it_is(camera, opened):
    source = opened(camera.url, VideoOptions())
    assert read_frames(source, 5)[-1][2] == (192, 320, 3)
    camera.width = 1280
    camera.hung_up.set()
    read_until(source, lambda counts: counts.last_problem is not None)
    camera.hung_up.clear()
    frames = read_frames(source, 10)
    assert frames[-1][2] == (768, 1280, 3)
    assert [f[1] for f in frames] == sorted(f[1] for f in frames)


def test_a_size_change_within_a_connection_stops_nothing(camera, opened):
    source = opened(camera.url, VideoOptions())
    before = read_frames(source, 5)[-1]
    camera.width = 640
    after = read_frames(source, 20)
    assert after[-1][1] > before[1]
    assert source.stats().restarts == 0


def test_a_hung_capture_process_is_seen_and_replaced(camera, opened):
    source = opened(camera.url, VideoOptions(stall_timeout_s=1.0))
    seq = read_frames(source, 5)[-1][0]
    child = capture_process()
    child.suspend()
    read_until(source, lambda counts: counts.stalls >= 1)
    assert not child.is_running()
    assert "silent for" in source.stats().last_problem
    again = read_frames(source, 5)
    assert again[0][0] > seq
    assert (source.stats().restarts, source.stats().last_problem) == (1, None)


def test_a_silent_camera_is_reopened_and_comes_back(camera, opened):
    source = opened(camera.url, VideoOptions(stall_timeout_s=1.0))
    read_frames(source, 5)
    camera.frozen.set()
    read_until(source, lambda counts: counts.last_problem is not None)
    camera.frozen.clear()
    read_frames(source, 5)
    assert source.stats().restarts >= 1


def test_a_camera_that_hangs_up_is_reopened(camera, opened):
    source = opened(camera.url, VideoOptions())
    read_frames(source, 5)
    camera.hung_up.set()
    read_until(source, lambda counts: counts.last_problem is not None)
    camera.hung_up.clear()
    read_frames(source, 5)
    assert camera.viewers >= 2


def test_a_camera_that_is_not_there_yet_is_waited_for_cheaply(opened):
    camera = MjpegCamera()
    camera.close()
    source = opened(camera.url.replace("http://", "http://me:s3cret@"), VideoOptions())
    with structlog.testing.capture_logs() as logs:
        read_until(source, lambda counts: counts.last_problem is not None)
    assert "does not answer" in source.stats().last_problem
    assert capture_process().memory_info().rss < 30 << 20
    assert logs
    assert "s3cret" not in str(logs)


def test_a_host_that_takes_the_connection_and_says_nothing_is_left(opened):
    with socket.create_server(("127.0.0.1", 0)) as tarpit:
        address = f"rtsp://127.0.0.1:{tarpit.getsockname()[1]}/1"
        source = opened(address, VideoOptions(open_timeout_s=1, stall_timeout_s=1))
        read_until(source, lambda counts: counts.restarts >= 2)
    assert "within 1 s" in source.stats().last_problem


def test_a_wrong_password_is_told_as_such(opened):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse():
            connection, _ = server.accept()  # of who looks whether the address answers
            connection.close()
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as lines:
                for number in range(1, 4):
                    while lines.readline().strip():
                        pass
                    status = "200 OK" if number == 1 else "401 Unauthorized"
                    login = 'WWW-Authenticate: Basic realm="camera"'
                    lines.write(f"RTSP/1.0 {status}\r\nCSeq: {number}\r\n{login}\r\n\r\n".encode())
                    lines.flush()

        refusing = threading.Thread(target=refuse)
        refusing.start()
        source = opened(f"rtsp://me:s3cret@127.0.0.1:{server.getsockname()[1]}/1", VideoOptions())
        read_until(source, lambda counts: counts.last_problem is not None)
        refusing.join()
    assert "401" in source.stats().last_problem
    assert "password" in source.stats().last_problem
    assert "s3cret" not in source.stats().last_problem


def test_a_device_that_is_not_plugged_in_is_waited_for(opened):
    source = opened("/dev/video97", VideoOptions())
    read_until(source, lambda counts: counts.last_problem is not None)
    assert source.stats().last_problem == "/dev/video97 does not exist"
    assert source.is_live


def test_passwords_are_not_in_the_process_list_nor_in_its_environment(camera, opened, monkeypatch):
    monkeypatch.setenv("EDGE_MQTT_PASSWORD", "br0ker")
    source = opened(camera.url.replace("http://", "http://me:s3cret@"), VideoOptions())
    read_frames(source, 1)
    child = capture_process()
    assert "s3cret" not in str(child.cmdline()) + str(child.environ())
    assert "br0ker" not in str(child.environ())


def test_close_ends_a_waiting_read_and_the_process_without_waiting_for_a_time_limit(opened):
    camera = MjpegCamera(fps=0.01)
    try:
        never_s = 4 * WAIT_S
        source = opened(camera.url, VideoOptions(open_timeout_s=never_s, stall_timeout_s=never_s))
        ended = threading.Event()

        def wait_for_frame():
            try:
                source.read(never_s)
            except EndOfStream:
                ended.set()

        reader = threading.Thread(target=wait_for_frame)
        reader.start()
        assert until(lambda: camera.viewers)
        child = capture_process()
        started = time.monotonic()
        source.close()
        assert ended.wait(WAIT_S)
        assert time.monotonic() - started < WAIT_S
        assert not child.is_running()
        reader.join()
        source.close()
    finally:
        camera.close()


def test_the_last_frame_stays_readable_after_close(clip, opened):
    source = opened(clip)
    frame = source.read(10)
    source.close()
    assert number_of(frame.payload) == 0


def test_nothing_is_left_open_after_many_restarts(clip, opened):
    process = psutil.Process()
    for count in range(6):
        source = opened(clip)
        read_frames(source, 3)
        source.close()
        if count == 0:
            before = process.num_fds()
    assert process.num_fds() <= before
    assert not [c for c in process.children() if c.is_running() and "capture_process" in str(c.cmdline())]


OWNER = """
import sys, time
from edge_runtime.sources.video import VideoSource
from edge_runtime.sources.capture_protocol import VideoOptions
source = VideoSource("belt", sys.argv[1], VideoOptions(loop=True))
while source.read(1.0) is None:
    pass
print("playing", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("is_hung", [False, True])
def test_the_capture_process_dies_with_its_owner(clip, is_hung):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(clip)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        while b"playing" not in owner.stdout.readline():
            assert owner.poll() is None
        child = capture_process(owner.pid)
        if is_hung:
            child.suspend()
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.communicate()
    psutil.wait_procs([child], timeout=WAIT_S)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
