"""The command snapshot: whose pictures leave, which frame it is, and what is said when none comes."""

import base64
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import simplejpeg

from edge_runtime.config import CameraConfig, PicturesConfig
from edge_runtime.daemon import snapshots
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.frame_tap import FrameTap
from edge_runtime.daemon.live_pictures import LivePictures
from edge_runtime.daemon.live_windows import LiveWindows
from edge_runtime.daemon.snapshots import Snapshots
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CommandError, SourceLost
from edge_runtime.messaging.commands.request import check_arguments
from edge_runtime.serving.refusals import Refusal
from edge_runtime.sources.base import SourceCounts
from edge_runtime.system.supervised_thread import Crashes
from tests.support.pipeline_bench import make_frame, make_pipeline
from tests.support.progress import Heard
from tests.support.waiting import WAIT_S, until


class Camera:
    """A source that gives what is put into it, and closes when the stream is closed."""

    is_live = True

    def __init__(self):
        self.coming, self.came = [], threading.Condition()
        self.buffer = np.zeros((40, 60, 3), np.uint8)

    def show(self, level):
        """A frame of this grey level, in memory that the next frame takes."""
        with self.came:
            self.coming.append(level)
            self.came.notify()

    def read(self, timeout_s):
        with self.came:
            if not self.came.wait_for(lambda: self.coming, timeout_s):
                return None
            level = self.coming.pop(0)
        if isinstance(level, Exception):
            raise level
        self.buffer[:] = level
        return make_frame(level, picture=self.buffer)

    def stats(self):
        return SourceCounts()

    def close(self):
        """Nothing is held."""


@pytest.fixture
def site(tmp_path):
    """A device with an open camera ``belt`` whose pictures may leave."""
    camera = Camera()
    pipeline, _, _ = make_pipeline(queue_limit=8)
    cameras = Cameras(lambda *_: camera, tmp_path / "streams", Crashes())
    belt = CameraConfig(path="rtsp://camera/1", model="parts", snapshots=True)
    gate = belt.model_copy(update={"snapshots": False})
    config = SimpleNamespace(cameras={"belt": belt, "gate": gate}, sensors={"pump": None})
    cameras.open("belt", belt, pipeline)
    running = SimpleNamespace(config=config)
    yield SimpleNamespace(
        camera=camera,
        cameras=cameras,
        config=config,
        pipeline=pipeline,
        snapshots=Snapshots(running, cameras, PicturesConfig()),
        windows=LiveWindows(running, cameras),
        progress=Heard(),
    )
    cameras.stop_all()


def take(site, **given):
    return site.snapshots.take(check_arguments("snapshot", {"camera": "belt", **given}), site.progress)


def take_soon(site, level, **given):
    """Ask, and have the camera give a frame once it is waited for."""
    worker = site.cameras._workers["belt"]

    def give():
        assert until(lambda: worker.tap._wanted is not None)
        site.camera.show(level)
        site.camera.show(0)  # into the same memory

    giver = threading.Thread(target=give)
    giver.start()
    try:
        return take(site, **given)
    finally:
        giver.join(WAIT_S)


def test_is_the_next_frame_that_comes(site):
    site.camera.show(10)
    assert until(lambda: site.pipeline.metrics.stream("belt").frames == 1)
    answer = take_soon(site, 200)
    assert (answer["camera"], answer["width"], answer["height"]) == ("belt", 60, 40)
    assert 0 <= answer["age_ms"] < WAIT_S * 1000
    pixels = simplejpeg.decode_jpeg(base64.b64decode(answer["jpeg"]), "RGB")
    assert np.abs(pixels.astype(int) - 200).max() <= 2


def test_is_as_small_as_asked(site):
    assert take_soon(site, 200, max_side=30)["width"] == 30


def test_a_picture_leaves_only_where_the_configuration_says_so(site):
    for name, said in (("gate", r"cameras\.gate\.snapshots"), ("yard", "belt, gate")):
        with pytest.raises(CommandError, match=said):
            take(site, camera=name)


def test_an_edit_that_forbids_it_counts_for_one_that_waits(site, monkeypatch):
    asked = site.cameras.ask_frame

    def forbid(name, max_side):
        site.config.cameras["belt"] = site.config.cameras["gate"]
        return asked(name, max_side)

    monkeypatch.setattr(site.cameras, "ask_frame", forbid)
    with pytest.raises(CommandError, match="snapshots"):
        take_soon(site, 200)


def test_a_silent_camera_is_named_with_its_problem(site, monkeypatch):
    monkeypatch.setattr(snapshots, "WAIT_S", 0.05)
    with pytest.raises(CommandError, match=r"'belt'.*none yet"):
        take(site)
    site.camera.show(1)
    site.camera.show(SourceLost("belt", "unplugged"))
    assert until(lambda: site.cameras._workers["belt"].last_problem)
    with pytest.raises(CommandError, match="ago; unplugged"):
        take(site)


def test_a_daemon_that_ends_waits_for_no_frame(site):
    site.progress.is_ending = True
    with pytest.raises(CommandError, match="the daemon ends"):
        take(site)


def test_a_camera_that_is_not_open_is_not_waited_for(site):
    site.cameras.close("belt")
    with pytest.raises(CommandError, match="not open"):
        take(site)


def test_a_picture_that_cannot_be_read_is_told(site, monkeypatch):
    monkeypatch.setattr(site.camera, "buffer", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(CommandError, match="2x2 pixels"):
        take_soon(site, 1)


def test_nothing_is_copied_while_nobody_asks():
    tap, given = FrameTap(), make_frame(0)
    tap.offer(given)
    first, second = tap.ask(16), tap.ask(8)
    assert first is second
    tap.offer(given)
    got = first.result(0)
    assert (got.payload == given.payload).all()
    assert not np.may_share_memory(got.payload, given.payload)
    assert not tap.ask(16).done()


def test_the_copy_of_a_large_frame_is_a_reduced_one_for_the_largest_who_waits():
    tap, given = FrameTap(), make_frame(0, picture=np.full((400, 600, 3), 90, np.uint8))
    asked = tap.ask(40), tap.ask(140)
    tap.offer(given)
    got = asked[0].result(0)
    assert got is asked[1].result(0)
    assert (got.payload.shape, got.full_size) == ((100, 150, 3), (600, 400))
    assert (got.payload == 90).all()
    assert given.payload.shape == (400, 600, 3)
    tap.ask(600)
    whole = tap.ask(16)
    tap.offer(given)
    assert (whole.result(0).payload.shape, whole.result(0).full_size) == ((400, 600, 3), None)


@pytest.mark.parametrize(
    "picture", [np.zeros((300, 200), np.uint8), np.ones((64, 300, 3)), np.zeros((0, 90, 3), np.uint8)]
)
def test_arrays_of_every_kind_are_copied(picture):
    tap = FrameTap()
    asked = tap.ask(16)
    tap.offer(make_frame(0, picture=picture))
    got = asked.result(0)
    assert not np.may_share_memory(got.payload, picture)
    assert got.full_size in (None, (200, 300))


def test_encoded_pictures_are_handed_on_as_they_are():
    tap, data = FrameTap(), b"bytes that nobody writes over"
    asked = tap.ask(16)
    tap.offer(Frame("belt", 0, data, 0.0, 0.0))
    assert asked.result(0).payload is data


@pytest.mark.parametrize(("stream", "code"), [("gate", 403), ("yard", 404), ("belt", 503)])
def test_over_http_each_refusal_has_its_code(site, stream, code):
    site.cameras.close("belt")
    pictures = LivePictures(site.snapshots, site.windows, lambda: False)
    with pytest.raises(Refusal) as refused:
        pictures.ask(stream, 30)
    assert refused.value.code == code


def test_over_http_it_is_the_same_picture(site):
    pictures = LivePictures(site.snapshots, site.windows, lambda: False)
    coming = pictures.ask("belt", 30)
    site.camera.show(200)
    frame = coming.result(WAIT_S)
    made = pictures.make("belt", frame, 30, 75)
    assert (made.width, made.height, made.full_width, made.full_height) == (30, 20, 60, 40)
    assert pictures.describe_silence("belt").code == 503
    site.config.cameras["belt"] = site.config.cameras["gate"]
    with pytest.raises(Refusal) as refused:  # forbidden meanwhile
        pictures.make("belt", frame, 30, 75)
    assert refused.value.code == 403


def test_over_http_a_daemon_that_stops_takes_no_frame(site):
    with pytest.raises(Refusal) as refused:
        LivePictures(site.snapshots, site.windows, lambda: True).ask("belt", 30)
    assert refused.value.code == 503
