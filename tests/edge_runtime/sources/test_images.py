import threading
from pathlib import Path

import pytest

from edge_runtime.errors import SourceLost
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.images import ImagesSource
from tests.support.waiting import WAIT_S


class Clock:
    """Moves only when the test moves it, or when the source waits."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def folder(tmp_path):
    for name in ("10.jpg", "2.jpg", "1.JPG", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"picture " + name.encode())
    (tmp_path / "more.png").mkdir()
    return tmp_path


def names(source):
    out = []
    while True:
        try:
            frame = source.read(0)
        except EndOfStream:
            return out
        out.append(Path(frame.picture).name)


def test_pictures_come_once_in_natural_order(folder):
    source = ImagesSource("belt", folder)
    assert names(source) == ["1.JPG", "2.jpg", "10.jpg"]
    assert source.stats().delivered == source.stats().captured == 3
    assert not source.is_live


def test_damaged_files_go_on_to_preprocessing(folder):
    (folder / "3.jpg").write_bytes(b"")
    assert "3.jpg" in names(ImagesSource("belt", folder))


def test_sequence_numbers_and_times_are_set(folder):
    source = ImagesSource("belt", folder, clock=Clock(), wall_clock=lambda: 1e9, first_seq=7)
    frame = source.read(0)
    assert (frame.stream, frame.seq, frame.captured_at_s, frame.captured_at_wall_s) == (
        "belt",
        7,
        100.0,
        1e9,
    )


def test_a_loop_goes_on(folder):
    source = ImagesSource("belt", folder, loop=True)
    assert [source.read(0).picture.name for _ in range(5)] == ["1.JPG", "2.jpg", "10.jpg", "1.JPG", "2.jpg"]


def test_fps_paces(folder):
    clock = Clock()
    source = ImagesSource("belt", folder, fps=2, clock=clock)
    assert source.read(0) is not None
    assert source.read(0) is None
    clock.now_s += 0.51
    assert source.read(0) is not None


def look_again(source, clock):
    clock.now_s += 1.0
    return source.read(0)


def test_a_watched_folder_gives_new_files_once_they_stopped_growing(folder):
    clock = Clock()
    source = ImagesSource("belt", folder, watch=True, clock=clock)
    assert source.read(0) is None  # seen once: may still be written
    first = [look_again(source, clock).picture.name, source.read(0).picture.name, source.read(0).picture.name]
    assert first == ["1.JPG", "2.jpg", "10.jpg"]
    (folder / "11.jpg").write_bytes(b"half")
    assert look_again(source, clock) is None
    (folder / "11.jpg").write_bytes(b"half and half")
    assert look_again(source, clock) is None
    assert look_again(source, clock).picture.name == "11.jpg"
    assert look_again(source, clock) is None


def test_a_picture_written_over_counts_as_new(folder):
    clock = Clock()
    source = ImagesSource("belt", folder, watch=True, clock=clock)
    source.read(0)
    look_again(source, clock)
    assert [source.read(0).picture.name for _ in range(2)] == ["2.jpg", "10.jpg"]
    (folder / "2.jpg").write_bytes(b"a new snapshot under the old name")
    assert look_again(source, clock) is None
    assert look_again(source, clock).picture.name == "2.jpg"


def test_a_watched_folder_may_go_away_and_come_back(folder):
    clock = Clock()
    source = ImagesSource("belt", folder, watch=True, clock=clock)
    source.read(0)
    while look_again(source, clock) is not None:
        pass
    folder.rename(folder.with_name("away"))
    assert look_again(source, clock) is None
    assert source.stats().last_problem
    folder.with_name("away").rename(folder)
    assert look_again(source, clock) is None
    assert source.stats().last_problem is None
    assert look_again(source, clock) is None
    assert source.stats().delivered == 3


def test_a_missing_folder_is_lost_with_its_name(tmp_path):
    with pytest.raises(SourceLost, match="nowhere"):
        ImagesSource("belt", tmp_path / "nowhere").read(0)


def test_an_empty_folder_is_lost_with_what_was_expected(tmp_path):
    with pytest.raises(SourceLost, match=r"\.jpg"):
        ImagesSource("belt", tmp_path).read(0)


def test_close_wakes_a_waiting_read(folder):
    source = ImagesSource("belt", folder, watch=True)
    ended = threading.Event()

    def wait():
        try:
            while True:
                source.read(60)
        except EndOfStream:
            ended.set()

    reader = threading.Thread(target=wait)
    reader.start()
    source.close()
    assert ended.wait(WAIT_S)
    reader.join()
