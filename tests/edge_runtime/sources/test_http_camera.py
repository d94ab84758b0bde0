"""HTTP cameras: still pictures are asked for again, streams are played, and the reason is given when neither works."""

import base64
import contextlib
import random
import struct
import threading
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.specs import PictureSpec
from edge_runtime.sources.capture_protocol import CaptureFailed, VideoOptions
from edge_runtime.sources.http_camera import HttpCamera
from edge_runtime.sources.reopen import Backoff
from edge_runtime.sources.video import VideoSource
from tests.support.picture_files import exif, png_chunk
from tests.support.video_clips import number_of, numbered_picture
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

LOGIN = "Basic " + base64.b64encode("viewer:p@ss w:o#r%d+é".encode()).decode()


def jpeg(number):
    return cv2.imencode(".jpg", numbered_picture(number))[1].tobytes()


@dataclass
class Camera:
    """An HTTP server of cameras; the path says which one."""

    asked: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    still: bytes = b""

    def __enter__(self):
        camera = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def do_GET(self):
                camera.asked.append(self.path)
                with contextlib.suppress(OSError):
                    getattr(camera, self.path.partition("?")[0].strip("/").replace(".", "_"))(self)

            def log_message(self, *_):
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path, login=""):
        return f"http://{login}127.0.0.1:{self._server.server_port}/{path}"

    @staticmethod
    def answer(to, body, content_type="image/jpeg", code=200, **headers):
        to.send_response(code)
        if content_type is not None:
            to.send_header("Content-Type", content_type)
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    def large(self, to):
        self.answer(to, bytes(5000), Content_Length="5000")

    def snap_jpeg(self, to):
        body = jpeg(len(self.asked))
        self.answer(to, body, Content_Length=str(len(body)))

    def no_length(self, to):
        self.answer(to, jpeg(1))

    def png(self, to):
        self.answer(to, cv2.imencode(".png", numbered_picture(1))[1].tobytes(), "image/png; charset=binary")

    def moved(self, to):
        self.answer(to, b"", None, 302, Location="/snap.jpeg")

    def moved_to_file(self, to):
        self.answer(to, b"", None, 302, Location="file:///etc/hostname")

    def locked(self, to):
        if to.headers.get("Authorization") == LOGIN:
            self.snap_jpeg(to)
        else:
            self.answer(to, b"", None, 401, WWW_Authenticate='Basic realm="camera"')

    def gone(self, to):
        self.answer(to, b"no", "text/html", 404)

    def busy(self, to):
        self.answer(to, b"no", "text/html", 503)

    def page(self, to):
        self.answer(to, b"<html>", "text/html")

    def garbage(self, to):
        self.answer(to, b"not a picture")

    def shown(self, to):
        self.answer(to, self.still)

    def cut(self, to):
        self.answer(to, jpeg(1)[:2000], Content_Length="99999")

    def silent(self, to):
        self.stopped.wait(WAIT_S)

    def dripping(self, to):
        """Headers without end, each within the time of a read."""
        to.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n")
        number = 0
        while not self.stopped.wait(0.05):
            number += 1
            to.wfile.write(b"x")

    def dripping_first(self, to):
        while not self.stopped.wait(0.05):
            to.wfile.write(b"H")

    def dripping_after_login(self, to):
        if to.headers.get("Authorization") == LOGIN:
            self.dripping(to)
        else:
            self.answer(to, b"", None, 401, WWW_Authenticate='Basic realm="camera"')

    def dripping_redirect(self, to):
        self.answer(to, b"", None, 302, Location="/dripping")

    def moved_away(self, to):
        other = self.url("snap.jpeg").replace("127.0.0.1", "localhost")
        self.answer(to, b"", None, 302, Location=other)

    def moved_twice(self, to):
        self.answer(to, b"", None, 307, Location="/moved_away")

    def endless(self, to):
        to.send_response(200)
        to.send_header("Content-Type", "image/jpeg")
        to.end_headers()
        while not self.stopped.wait(0.05):
            to.wfile.write(jpeg(1))

    def stream(self, to, first=b"--frame\r\n"):
        to.send_response(200)
        to.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        to.end_headers()
        to.wfile.write(first)
        while not self.stopped.wait(0.04):
            body = jpeg(1)
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            to.wfile.write(head.encode() + body + b"\r\n--frame\r\n")

    def no_first_boundary(self, to):
        self.stream(to, b"")


@pytest.fixture(scope="module")
def camera():
    with Camera() as camera:
        yield camera


@pytest.mark.parametrize(
    ("path", "content_type", "is_still"),
    [
        ("snap.jpeg", "image/jpeg", True),
        ("snap.jpeg?channel=1&subtype=0", "image/jpeg", True),
        ("no_length", "image/jpeg", True),
        ("png", "image/png", True),
        ("moved", "image/jpeg", True),
        ("stream", "multipart/x-mixed-replace", False),
        ("no_first_boundary", "multipart/x-mixed-replace", False),
        ("page", "text/html", False),
        ("endless", "image/jpeg", False),
        ("cut", "image/jpeg", False),
    ],
)
def test_a_still_is_told_from_a_stream(camera, path, content_type, is_still):
    answer = HttpCamera(camera.url(path), 10.0, 2.0).look()
    assert (answer.content_type, answer.still is not None) == (content_type, is_still)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("gone", "404"),
        ("busy", "503"),
        ("locked", "401"),
        ("silent", "no whole answer within 0.5 s"),
        ("moved_to_file", "302"),
    ],
)
def test_the_reason_of_the_camera_is_told(camera, path, words):
    with pytest.raises(CaptureFailed, match=words):
        HttpCamera(camera.url(path), 0.5, 10.0).look()


def test_the_login_of_the_address_is_used_and_not_sent_before_it_is_asked_for(camera):
    look = HttpCamera(camera.url("locked", "viewer:p%40ss%20w%3Ao%23r%25d%2B%C3%A9@"), 10.0, 10.0).look()
    assert look.still is not None


def test_a_server_that_speaks_no_http_is_left_to_ffmpeg():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            client, _ = server.accept()
            client.recv(1000)
            client.sendall(b"ICY 200 OK\r\n\r\n")
            client.close()

        thread = threading.Thread(target=speak)
        thread.start()
        assert HttpCamera(f"http://127.0.0.1:{server.getsockname()[1]}/", 10.0, 10.0).look() is None
        thread.join()


@pytest.mark.parametrize("path", ["dripping", "dripping_first", "dripping_after_login", "dripping_redirect"])
@pytest.mark.parametrize("ask", [HttpCamera.look, HttpCamera.fetch])
def test_an_answer_that_drips_ends_at_the_time_limit_of_the_whole(camera, path, ask):
    url = camera.url(path, "viewer:p%40ss%20w%3Ao%23r%25d%2B%C3%A9@")
    with pytest.raises(CaptureFailed, match=r"within 0\.4 s"):
        ask(HttpCamera(url, 0.4, 0.4))


@pytest.mark.parametrize("path", ["moved_away", "moved_twice"])
def test_another_host_is_not_asked(camera, path):
    before = camera.asked.count("/snap.jpeg")
    one = HttpCamera(camera.url(path), 10.0, 10.0)
    assert one.look() is None  # left to FFmpeg
    with pytest.raises(CaptureFailed, match="another host"):
        one.fetch()
    assert camera.asked.count("/snap.jpeg") == before


@pytest.fixture
def opened():
    sources = []

    def open_source(url, **options):
        options.setdefault("stall_timeout_s", 5.0)
        source = VideoSource("belt", url, VideoOptions(**options), backoff=Backoff(random.Random(1)))
        sources.append(source)
        return source

    yield open_source
    for source in sources:
        source.close()


def frames_of(source, count):
    frames = []

    def read():
        frame = source.read(0.2)
        if frame is not None:
            picture = frame.payload
            if isinstance(picture, bytes):
                picture = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
            frames.append((number_of(picture), frame.captured_at_s, picture.shape))
        return len(frames) >= count

    assert until(read), source.stats()
    return frames


def test_a_still_is_asked_for_at_fps(camera, opened):
    source = opened(camera.url("snap.jpeg"), fps=5)
    frames = frames_of(source, 6)
    numbers = [number for number, *_ in frames]
    assert sorted(set(numbers)) == numbers  # a new picture each time
    assert frames[-1][1] - frames[0][1] >= 5 * 0.2 - 0.25
    assert source.stats().restarts == 0


def test_a_stream_without_its_first_boundary_is_played(camera, opened):
    source = opened(camera.url("no_first_boundary"))
    assert len(frames_of(source, 5)) >= 5
    assert source.stats().restarts == 0


@pytest.mark.parametrize(
    ("path", "words"), [("gone", "404"), ("page", "text/html"), ("large", "pictures.max_frame_mib")]
)
def test_what_gives_no_picture_says_why(camera, opened, path, words):
    source = opened(camera.url(path), fps=50, max_frame_bytes=1)

    def has_said():
        source.read(0.1)
        return source.stats().last_problem

    assert until(has_said)
    assert words in source.stats().last_problem


JPEG = jpeg(1)
SIZE = numbered_picture(1).shape[1::-1]
PREPROCESSOR = PicturePreprocessor(
    PictureSpec(
        colour="rgb", width=32, height=24, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
    )
)


def damaged(at, count=8):
    return JPEG[:at] + bytes(byte ^ 0xFF for byte in JPEG[at : at + count]) + JPEG[at + count :]


def bomb(side):
    """A PNG header; decoding the rest would take 3 bytes a pixel."""
    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 16))
    head = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size)
    return head + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("still", "reason"),
    [
        (b"", "empty"),
        (b"not a picture", "unsupported"),
        (JPEG[:-200], "truncated"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:20], "truncated"),
        (damaged(len(JPEG) // 2), "truncated"),
        (damaged(len(JPEG) * 2 // 3), "truncated"),
        (damaged(0), "unsupported"),
        (bomb(12_000), "too_large"),
        (bomb(60_000), "too_large"),
        (cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes(), "too_small"),
        (b"GIF89a" + bytes(100), "unsupported"),
    ],
)
def test_a_still_passes_the_checks_of_every_other_picture(camera, opened, still, reason):
    frame = first_of(camera, opened, still)
    assert frame.payload == still
    assert (frame.colour, frame.decode_ms) == (None, 0.0)
    assert PREPROCESSOR.prepare(frame).reason == reason


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_still_is_turned_upright(camera, opened, orientation):
    block = b"Exif\0\0" + exif(orientation)
    stored = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + JPEG[2:]
    sample = PREPROCESSOR.prepare(first_of(camera, opened, stored))
    size = SIZE if orientation < 5 else SIZE[::-1]
    assert (sample.geometry.frame_width, sample.geometry.frame_height) == size


def first_of(camera, opened, still):
    camera.still = still
    source, frames = opened(camera.url("shown")), []
    assert until(lambda: frames.append(source.read(0.2)) or frames[-1] is not None), source.stats()
    return frames[-1]
