"""A camera that dies and comes back: a real RTSP server, killed with SIGKILL in the middle of the stream."""

import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from av.video.frame import PictureType

from edge_runtime.sources.capture_protocol import VideoOptions
from edge_runtime.sources.reopen import Backoff
from edge_runtime.sources.video import VideoSource
from tests.support.mosquitto import free_port
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

STALL_S = 2.0
NOTICED_S = 3 * STALL_S
"""A hung camera must be given up after ``STALL_S`` of silence; the rest is for a busy machine."""
BACK_S = 30.0
"""A camera that answers again must give frames before the longest delay of ``Backoff`` is over."""


class RtspCamera:
    """The server of aio-rtsp-toolkit, serving every file of a folder, each viewer from its start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port, self._control_port = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, clip: str) -> str:
        return f"rtsp://127.0.0.1:{self.port}/{clip}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "server_demo", "-d", str(self._folder), "-H", "127.0.0.1",
                "-p", str(self.port), "-cp", str(self._control_port),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                threading.Event().wait(0.05)
            else:
                return
        raise AssertionError("the RTSP server did not start")

    def pause(self) -> None:
        psutil.Process(self._process.pid).suspend()

    def resume(self) -> None:
        psutil.Process(self._process.pid).resume()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def write_h264(
    path: Path, frames: int, fps: int = 25, key_every: int = 10, last_key: int | None = None
) -> None:
    """A clip of a white bar that moves down, one step a frame, on grey; no key frame comes after ``last_key``."""
    with av.open(str(path), "w") as file:
        options = {
            "g": str(key_every if last_key is None else frames),
            "sc_threshold": "0",
            "bf": "0",
            "preset": "ultrafast",
        }
        stream = file.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(frames):
            picture = np.full((240, 320, 3), 90, np.uint8)
            picture[number % 24 * 10 :][:10] = 255
            frame = av.VideoFrame.from_ndarray(picture, "bgr24")
            if last_key is not None and number <= last_key and number % key_every == 0:
                frame.pict_type = PictureType.I
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def drop_first_packet(source: Path, target: Path) -> None:
    """A clip as a camera gives it that is joined behind a key frame: nothing can be decoded before the next one."""
    with av.open(str(source)) as given, av.open(str(target), "w") as kept:
        stream = kept.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(given.demux(video=0)):
            if number > 0 and packet.dts is not None:
                packet.stream = stream
                kept.mux(packet)


KEY_FRAME_S = 6.0
"""Between two key frames of the clips with few of them; longer than ``FEW_STALL_S``."""
FEW_STALL_S = 3.0


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_h264(folder / "belt.mp4", frames=1500)
    write_h264(folder / "few.mp4", frames=300, key_every=round(25 * KEY_FRAME_S))
    write_h264(folder / "one.mp4", frames=300, key_every=300)
    write_h264(folder / "sparse.mp4", frames=400, last_key=150)
    drop_first_packet(folder / "few.mp4", folder / "joined.mp4")
    drop_first_packet(folder / "one.mp4", folder / "never.mp4")
    return folder


@pytest.fixture
def cameras(clips):
    both = [RtspCamera(clips), RtspCamera(clips)]
    for camera in both:
        camera.start()
    for camera in both:
        camera.wait_until_it_answers()
    yield both
    for camera in both:
        camera.kill()


@pytest.fixture
def opened():
    sources = []

    def open_source(name, camera, clip="belt.mp4", **options):
        options.setdefault("stall_timeout_s", STALL_S)
        source = VideoSource(
            name, camera.url(clip), VideoOptions(**options), backoff=Backoff(random.Random(1))
        )
        sources.append(source)
        return source

    yield open_source
    for source in sources:
        source.close()


class WatchedSource:
    """A source, the frames that arrived, and when."""

    def __init__(self, source: VideoSource) -> None:
        self.source, self.frames, self.arrived_at_s = source, [], []

    def poll(self) -> None:
        frame = self.source.read(0.02)
        if frame is not None:
            self.arrived_at_s.append(time.monotonic())
            self.frames.append((frame.seq, frame.captured_at_s, frame.payload.shape, frame.payload.std()))


def watch(sources, until, within_s=WAIT_S):
    """Read all sources in turn until the condition holds."""
    started = time.monotonic()
    while not until():
        assert time.monotonic() - started < within_s, [s.source.stats() for s in sources]
        for source in sources:
            source.poll()


def test_a_killed_camera_comes_back_and_the_other_never_notices(cameras, opened):
    front, side = (
        WatchedSource(opened("front", cameras[0])),
        WatchedSource(opened("side", cameras[1], stall_timeout_s=30.0)),
    )
    watch([front, side], lambda: min(len(front.frames), len(side.frames)) >= 15)

    cameras[0].kill()
    watch([front, side], lambda: front.source.stats().last_problem is not None, NOTICED_S)
    seen, other_seen = len(front.frames), len(side.frames)
    watch([front, side], lambda: len(side.frames) >= other_seen + 50)
    cameras[0].start()
    cameras[0].wait_until_it_answers()
    watch([front, side], lambda: len(front.frames) >= seen + 5, BACK_S)

    assert front.source.stats().restarts >= 1
    assert side.source.stats().restarts == 0
    assert side.source.stats().stalls == 0
    assert np.diff(side.arrived_at_s[15:]).max() < STALL_S, "25 frames a second, and none came late"
    numbers = [frame[0] for frame in front.frames]
    assert numbers == sorted(set(numbers))
    assert {frame[2] for frame in front.frames} == {(240, 320, 3)}
    assert min(frame[3] for frame in front.frames) > 10  # the bar is there: no frame is blank or torn to grey


def test_a_camera_that_hangs_is_left_and_found_again(cameras, opened):
    front = WatchedSource(opened("front", cameras[0]))
    watch([front], lambda: len(front.frames) >= 10)
    cameras[0].pause()
    watch([front], lambda: front.source.stats().last_problem is not None, NOTICED_S)
    seen = len(front.frames)
    cameras[0].resume()
    watch([front], lambda: len(front.frames) >= seen + 5, BACK_S)


def test_a_camera_that_comes_late_is_waited_for(clips, opened):
    camera = RtspCamera(clips)
    front = WatchedSource(opened("front", camera))
    watch([front], lambda: "does not answer" in str(front.source.stats().last_problem))
    camera.start()
    try:
        camera.wait_until_it_answers()
        watch([front], lambda: len(front.frames) >= 5, BACK_S)
    finally:
        camera.kill()


def test_a_wrong_path_is_told_in_the_servers_words(cameras, opened):
    source = VideoSource("front", cameras[0].url("no-such-clip.mp4"), VideoOptions())
    front = WatchedSource(source)
    try:
        watch([front], lambda: source.stats().last_problem is not None)
    finally:
        source.close()
    assert "404" in source.stats().last_problem


@pytest.mark.parametrize("clip", ["few.mp4", "one.mp4"])
def test_the_first_key_frame_is_used_however_far_the_next_one_is(cameras, opened, clip):
    source = opened("front", cameras[0], clip, stall_timeout_s=FEW_STALL_S)
    front = WatchedSource(source)
    watch([front], lambda: len(front.frames) >= 5)
    assert source.stats().restarts == 0
    # Each viewer's clip begins with its first key frame, so the next one is not among these.
    assert front.frames[4][0] < 25 * KEY_FRAME_S


def test_a_camera_joined_behind_a_key_frame_is_waited_for_while_data_comes(cameras, opened):
    source = opened("front", cameras[0], "joined.mp4", stall_timeout_s=FEW_STALL_S)
    front = WatchedSource(source)
    watch([front], lambda: len(front.frames) >= 10)
    assert source.stats().restarts == 0
    assert source.stats().stalls == 0


def test_a_camera_that_never_sends_a_key_frame_is_given_up_with_what_to_do(cameras, opened):
    source = opened("front", cameras[0], "never.mp4", stall_timeout_s=FEW_STALL_S, first_picture_s=1.0)
    front = WatchedSource(source)
    watch([front], lambda: source.stats().last_problem is not None)
    assert "key frames" in source.stats().last_problem
    assert front.frames == []


@pytest.mark.parametrize("decode", ["keyframes", "auto"])
def test_only_key_frames_are_decoded_where_they_are_enough(cameras, opened, decode):
    source = opened("front", cameras[0], fps=2.5, decode=decode)  # a key frame each 0.4 s
    front = WatchedSource(source)
    watch([front], lambda: source.stats().decoding == "keyframes")
    seen = len(front.frames)
    watch([front], lambda: len(front.frames) >= seen + 5)
    assert source.stats().restarts == 0
    # Of each ten frames the first one is a key frame, on which the bar is in one of few places.
    assert {frame[2] for frame in front.frames} == {(240, 320, 3)}
    assert source.stats().dropped > 5 * (len(front.frames) - seen - 1)


def test_frames_are_scaled_where_they_are_decoded(cameras, opened):
    front = WatchedSource(opened("front", cameras[0], size=(160, 160)))
    watch([front], lambda: len(front.frames) >= 3)
    assert {frame[2] for frame in front.frames} == {(120, 160, 3)}


def test_auto_goes_on_where_key_frames_stop(cameras, opened):
    """The next one may be far away: what came since the last one is decoded after all."""
    source = opened("front", cameras[0], "sparse.mp4", fps=2.5, decode="auto")
    front = WatchedSource(source)
    watch([front], lambda: source.stats().decoding == "keyframes")
    watch([front], lambda: source.stats().decoding == "all")
    seen = len(front.frames)
    watch([front], lambda: len(front.frames) >= seen + 10)
    assert source.stats().restarts == 0
    captured_at_s = [frame[1] for frame in front.frames]
    assert np.diff(captured_at_s).max() < STALL_S, "none came late"


def test_key_frames_further_apart_than_the_stall_timeout_are_waited_for(cameras, opened):
    source = opened("front", cameras[0], "few.mp4", decode="keyframes")
    front = WatchedSource(source)
    watch([front], lambda: len(front.frames) >= 1)
    watch([front], lambda: source.stats().interval_s > STALL_S)
    watch([front], lambda: len(front.frames) >= 2)
    assert (source.stats().restarts, source.stats().last_problem) == (0, None)
    assert source.stats().interval_s == pytest.approx(KEY_FRAME_S, rel=0.2)
