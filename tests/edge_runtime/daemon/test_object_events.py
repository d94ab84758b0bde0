"""Object events of a daemon: real outbox and file, a tracker that takes each column of the street for an object."""

import threading
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import jsonschema
import orjson
import pytest

from edge_runtime.config import CameraConfig, TrackingConfig
from edge_runtime.daemon import object_events
from edge_runtime.daemon.object_events import QUEUED_RESULTS, ObjectEvents
from edge_runtime.daemon.object_pictures import LOST_S, ObjectPictures
from edge_runtime.daemon.open_objects import FILE, OpenObjects
from edge_runtime.datatypes import Detection, Frame, Label, Result, Timings
from edge_runtime.errors import StateError
from edge_runtime.messaging.delivery import Channel, Delivery
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.object_events import OBJECT_EVENT
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import until

TRACKING = TrackingConfig(min_frames=2, lost_s=600, update_every_s=0.2)


class Columns:
    """A tracker for which boxes in a column of 100 pixels are one object."""

    may_work = threading.Event()
    may_work.set()

    def __init__(self, most_frames):
        self.most_frames = most_frames

    def update(self, found):
        self.may_work.wait()
        return [int(one.box[0] // 100) for one in found]


class Pictures:
    """Frames come when the test gives them."""

    def __init__(self):
        self.asked, self.sent = [], []

    def ask(self, camera):
        self.asked.append(Future())
        return self.asked[-1]

    def send(self, camera, frame, marks):
        self.sent.append((camera, frame.seq, marks))


class Site:
    def __init__(self, folder, *, is_away=False, tracking=TRACKING, **settings):
        camera = CameraConfig(path="rtsp://camera/1", model="people", tracking=tracking, **settings)
        yard = CameraConfig(path="/dev/video0", model="people")
        self.running = SimpleNamespace(
            config=SimpleNamespace(device="box", cameras={"street": camera, "yard": yard})
        )
        self.crashes, self.now_s, self.seq = Crashes(), 100.0, 0
        self.outbox = Outbox(folder / "outbox.db", self.crashes)
        publisher = SimpleNamespace(ready_since_s=None if is_away else 0.0)
        delivery = Delivery("box", lambda _: None)
        delivery.use_channels(Topics("edge", "box"), [Channel("mqtt", self.outbox, publisher)])
        self.file = OpenObjects(folder)
        self.pictures = Pictures()
        pictures = ObjectPictures(self.pictures, lambda: self.now_s)
        self.events = ObjectEvents(
            self.running, delivery, self.file, Columns, pictures, self.crashes, lambda: self.now_s
        )

    def see(self, *columns, stream="street", frames=1):
        for _ in range(frames):
            self.seq += 1
            boxes = tuple(
                Detection(0, "person", 0.9, (100.0 * x, 0.0, 100.0 * x + 40, 90.0)) for x in columns
            )
            timings = Timings(0, 0, 0, 0, 0)
            self.events.note(
                Result(
                    "box", stream, self.seq, 1e9 + self.seq, "people", "people/1", timings, detections=boxes
                )
            )
        return self

    def told(self):
        rows = [one for one in self.outbox.fetch(0, 1000) if "/objects/" in one.topic]
        assert {one.topic for one in rows} <= {"edge/box/objects/street"}
        return [orjson.loads(one.payload) for one in rows]

    def steps(self):
        return [(one["type"], one.get("why")) for one in self.told()]

    def end(self):
        self.events.stop()
        self.outbox.close()


@pytest.fixture
def sites(tmp_path):
    made = []

    def make(**options):
        made.append(Site(tmp_path, **options))
        made[-1].events.start()
        return made[-1]

    yield make
    for site in made:
        site.end()


def test_one_person_is_one_event_and_ends_with_the_daemon(sites):
    site = sites()
    site.see(1, frames=5)
    assert until(lambda: site.steps() == [("new", None)])
    (new,) = site.told()
    jsonschema.Draft202012Validator(OBJECT_EVENT).validate(new)
    assert new["count"] == {"person": 1}
    assert (new["before"], new["device"], new["model"]) == (None, "box", "people")
    assert new["after"] == {
        "id": "box/street/000000002/1", "camera": "street", "label": "person", "score": 0.9, "top_score": 0.9,
        "box": [100.0, 0.0, 140.0, 90.0], "frames": 2, "frame_time": 1e9 + 2, "start_time": 1e9 + 1, "end_time": None,
    }  # fmt: skip
    assert [one.state.id for one in site.file.read()] == [new["after"]["id"]]
    site.events.stop()
    assert site.steps() == [("new", None), ("end", "stopped")]
    end = site.told()[-1]
    jsonschema.Draft202012Validator(OBJECT_EVENT).validate(end)
    assert end["count"] == {}
    assert (end["before"], end["after"]["end_time"]) == (new["after"], 1e9 + 5)
    assert site.file.read() == []


def test_an_object_that_a_kill_left_open_ends_at_the_next_start(sites):
    first = sites()
    first.see(1, 2, frames=3)
    assert until(lambda: len(first.told()) == 2)
    left = first.file.path.read_bytes()
    first.events.stop()
    first.file.path.write_bytes(left)  # as a kill would have left it
    before = len(first.told())
    second = sites()
    assert until(lambda: len(second.told()) == before + 2)
    ends = second.told()[before:]
    assert [(one["type"], one["why"]) for one in ends] == [("end", "restarted")] * 2
    assert {one["after"]["id"] for one in ends} == {one["after"]["id"] for one in first.told()[:2]}

    def is_empty_in_time():
        second.now_s += 2
        return second.file.read() == []

    assert until(is_empty_in_time)


def test_turned_off_all_end_and_other_cameras_have_no_objects(sites):
    site = sites()
    site.see(1, 2, frames=2).see(1, frames=3, stream="yard")
    assert until(lambda: len(site.told()) == 2)
    cameras = site.running.config.cameras
    site.running.config.cameras = {**cameras, "street": cameras["yard"]}
    assert until(lambda: site.steps()[2:] == [("end", "off")] * 2)


def test_updates_do_not_wait_for_a_destination_that_is_away(sites):
    away = sites(is_away=True)
    away.see(1, frames=2)
    assert until(lambda: away.steps() == [("new", None)])
    away.now_s += 10
    away.see(1)
    away.see(2, frames=2)
    assert until(lambda: len(away.told()) == 2)
    away.events.stop()
    assert [kind for kind, _ in away.steps()] == ["new", "new", "end", "end"]


def test_an_update_comes_after_the_interval(sites):
    site = sites()
    site.see(1, frames=2)
    site.now_s += 10
    site.see(1)
    assert until(lambda: [kind for kind, _ in site.steps()] == ["new", "update"])


def test_a_model_without_boxes_has_no_objects_and_breaks_nothing(sites):
    site = sites()
    top = Result(
        "box", "street", 1, 1e9, "people", "people/1", Timings(0, 0, 0, 0, 0), top=(Label(0, "a", 1.0),)
    )
    site.events.note(top)
    site.events.note(replace(top, seq=2))
    site.see(1, frames=2)
    assert until(lambda: site.steps() == [("new", None)])
    assert site.crashes.total == 0


def test_a_damaged_file_is_told_of_and_stops_nothing(sites, tmp_path):
    (tmp_path / FILE).write_bytes(b'[{"stream": 1}]')
    with pytest.raises(StateError):
        OpenObjects(tmp_path).read()
    site = sites()
    assert until(lambda: any(one.topic == "edge/box/event" for one in site.outbox.fetch(0, 100)))
    site.see(1, frames=2)
    assert until(lambda: site.steps() == [("new", None)])


def frame(seq):
    return Frame("street", seq, b"", 0.0, 0.0)


def test_a_new_object_has_its_picture_with_the_box_of_the_same_frame(sites):
    site = sites(tracking=TRACKING.model_copy(update={"pictures": True}), snapshots=True)
    site.see(1, frames=2)
    assert until(lambda: len(site.pictures.asked) == 1)
    site.pictures.asked[0].set_result(frame(4))
    site.see(1, frames=2)
    assert until(lambda: site.pictures.sent)
    ((camera, seq, (mark,)),) = site.pictures.sent
    assert (camera, seq, mark.box, mark.text) == ("street", 4, (100.0, 0.0, 140.0, 90.0), "person 90%")
    site.now_s += 10
    site.see(1, frames=3)
    site.events.stop()
    assert len(site.pictures.asked) == 1


def test_a_frame_that_got_no_answer_is_asked_for_again_but_not_at_once(sites):
    site = sites(tracking=TRACKING.model_copy(update={"pictures": True}), snapshots=True)
    site.see(1, frames=2)
    assert until(lambda: len(site.pictures.asked) == 1)
    site.seq += 5
    site.pictures.asked[0].set_result(frame(5))
    site.see(1, frames=3)
    assert until(site.events._results.empty)
    assert len(site.pictures.asked) == 1
    site.now_s += 2
    site.see(1)
    assert until(lambda: len(site.pictures.asked) == 2)
    assert site.pictures.sent == []


def test_without_the_key_no_picture_is_asked_for(sites):
    site = sites(snapshots=True)
    site.see(1, frames=4)
    site.events.stop()
    assert site.pictures.asked == []


def test_a_frame_that_never_comes_since_its_camera_was_opened_anew_costs_one_picture_not_all(sites):
    site = sites(tracking=TRACKING.model_copy(update={"pictures": True}), snapshots=True)
    site.see(1, frames=2)
    assert until(lambda: len(site.pictures.asked) == 1)
    site.now_s += LOST_S + 1
    site.see(1, 2, frames=2)
    assert until(lambda: len(site.pictures.asked) == 2)
    site.pictures.asked[1].set_result(frame(site.seq + 1))
    site.see(1, 2)
    assert until(lambda: site.pictures.sent)


@pytest.fixture
def stuck(sites, monkeypatch):
    """One whose tracker does not come back, with an object."""
    may_work = threading.Event()
    may_work.set()
    monkeypatch.setattr(Columns, "may_work", may_work)
    monkeypatch.setattr(object_events, "STOP_S", 0.05)
    site = sites()
    site.see(1, frames=2)
    assert until(lambda: site.steps() == [("new", None)])
    may_work.clear()
    site.see(1)
    assert until(site.events._results.empty)
    yield site
    may_work.set()


def test_a_tracker_that_hangs_at_the_stop_loses_no_end(stuck):
    stuck.events.stop()
    stuck.outbox.close()
    Columns.may_work.set()
    assert stuck.events._thread.join(10)
    assert len(stuck.file.read()) == 1


def test_results_that_come_too_fast_are_counted_and_hold_nothing_up(stuck):
    stuck.see(1, frames=QUEUED_RESULTS + 3)
    assert stuck.events.skipped == 3
