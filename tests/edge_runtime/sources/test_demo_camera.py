import threading
import time

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from edge_runtime.config import DemoConfig
from edge_runtime.errors import SourceLost
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.demo.demo_camera import DemoCamera
from tests.support.waiting import WAIT_S


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number, (height, width) in enumerate([(240, 320), (900, 500), (100, 400), (333, 333)]):
        small = rng.integers(0, 255, (6, 8, 3), np.uint8)
        photo = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.jpg"), photo)
    (folder / "LICENSE.txt").write_text("free")
    return folder


def conveyor(photos, clock=None, *, fps=10.0, **options):
    times = {"clock": lambda: clock["now_s"], "wall_clock": lambda: 5000 + clock["now_s"]} if clock else {}
    return DemoCamera("belt", photos, DemoConfig(**options), fps=fps, **times)


def test_a_frame_is_a_pure_function_of_seed_and_index(photos):
    one, two, other = (conveyor(photos, seed=seed) for seed in (1, 1, 2))
    for index in (5, 0, 123_456):
        np.testing.assert_array_equal(one.frame(index), two.frame(index))
    assert any((one.frame(i) != other.frame(i)).any() for i in range(3))


def test_frames_are_bgr_pictures_of_one_size_from_photos_of_any_size(photos):
    frames = [conveyor(photos).frame(i) for i in range(20)]
    assert {(f.shape, f.dtype.name, f.flags.c_contiguous) for f in frames} == {((240, 320, 3), "uint8", True)}
    assert len({f.tobytes() for f in frames}) == 20


def test_the_drift_begins_at_its_time_and_can_be_taken_out_again(photos):
    plain = conveyor(photos)
    drifting = conveyor(photos, drift="haze", drift_at_s=3.05, fps=10)
    np.testing.assert_array_equal(drifting.frame(30), plain.frame(30))
    assert (drifting.frame(31) != plain.frame(31)).mean() > 0.9
    np.testing.assert_array_equal(drifting.frame(31, drifted=False), plain.frame(31))


def test_the_drift_keeps_the_colours_in_their_order(photos):
    plain, tinted = conveyor(photos).frame(0), conveyor(photos, drift="tint", drift_at_s=0).frame(0)
    lost = plain.astype(float).mean((0, 1)) - tinted.astype(float).mean((0, 1))
    assert lost[2] > lost[0]  # the tint takes red away: channel 2 of BGR


def test_a_ramp_grows(photos):
    source = conveyor(photos, fps=10, drift="contrast", drift_at_s=1, ramp_s=2, severity=0.8)
    at = [source.severity_at(i) for i in (9, 10, 20, 30, 1000)]
    assert at == pytest.approx([0, 0, 0.4, 0.8, 0.8])


def test_only_shows_one_photograph(photos):
    frames = [
        conveyor(photos, only=min(path.stem for path in photos.iterdir()), seed=3)
        .frame(i)
        .astype(float)
        .mean((0, 1))
        for i in range(12)
    ]
    many = [conveyor(photos, seed=3).frame(i).astype(float).mean((0, 1)) for i in range(12)]
    assert np.std(frames, axis=0).mean() < np.std(many, axis=0).mean()


def test_frames_come_at_their_time(photos):
    clock = {"now_s": 100.0}
    source = conveyor(photos, clock, fps=10)
    first = source.read(0)
    assert (first.seq, first.captured_at_s, first.captured_at_wall_s) == (0, 100.0, 5100.0)
    assert source.read(0) is None
    clock["now_s"] += 0.1001
    assert source.read(0).seq == 1


def test_who_comes_late_gets_the_newest_and_the_rest_is_counted(photos):
    clock = {"now_s": 100.0}
    source = conveyor(photos, clock, fps=10)
    source.read(0)
    clock["now_s"] += 1.05
    late = source.read(0)
    assert late.seq == 10
    assert late.captured_at_s == pytest.approx(101.0)
    counts = source.stats()
    assert (counts.captured, counts.delivered, counts.dropped) == (11, 2, 9)
    np.testing.assert_array_equal(late.payload, source.frame(10))


def test_real_time_pace(photos):
    source = conveyor(photos, fps=50)
    started, frames = time.monotonic(), []
    while len(frames) < 10 and time.monotonic() < started + 10:
        frame = source.read(1.0)
        if frame is not None:
            frames.append(frame)
    assert frames[-1].captured_at_s - frames[0].captured_at_s == pytest.approx(frames[-1].seq / 50)


def test_close_wakes_a_waiting_read(photos):
    source = conveyor(photos, fps=0.01)
    source.read(0)
    ended = threading.Event()

    def wait():
        try:
            source.read(60)
        except EndOfStream:
            ended.set()

    reader = threading.Thread(target=wait)
    reader.start()
    source.close()
    assert ended.wait(WAIT_S)
    reader.join()


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(SourceLost):
        DemoCamera("belt", tmp_path, fps=10.0)
    with pytest.raises(SourceLost):
        DemoCamera("belt", tmp_path / "gone", fps=10.0)


def test_a_damaged_photograph_is_named(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(SourceLost, match=r"bad\.jpg"):
        DemoCamera("belt", tmp_path, fps=10.0).frame(0)


@pytest.mark.parametrize(
    "options", [{"drift": "earthquake"}, {"severity": 2}, {"drift_at_s": -1}, {"ramp_s": -1}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValidationError):
        DemoConfig(**options)


def test_numbers_go_on_where_they_ended_and_the_pictures_begin_anew(photos):
    source = DemoCamera("belt", photos, fps=10.0, clock=lambda: 100.0, first_seq=10_000)
    frame = source.read(0)
    assert frame.seq == 10_000
    assert np.array_equal(frame.payload, source.frame(0))
