import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from edge_runtime.errors import SourceLost
from edge_runtime.sources.answered_files import MAX_ABSENT, AnsweredFiles, FileStamp
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.folder import list_files
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
        out.append(Path(frame.payload).name)


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
    assert [source.read(0).payload.name for _ in range(5)] == ["1.JPG", "2.jpg", "10.jpg", "1.JPG", "2.jpg"]


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
    first = [look_again(source, clock).payload.name, source.read(0).payload.name, source.read(0).payload.name]
    assert first == ["1.JPG", "2.jpg", "10.jpg"]
    (folder / "11.jpg").write_bytes(b"half")
    assert look_again(source, clock) is None
    (folder / "11.jpg").write_bytes(b"half and half")
    assert look_again(source, clock) is None
    assert look_again(source, clock).payload.name == "11.jpg"
    assert look_again(source, clock) is None


def test_a_picture_written_over_counts_as_new(folder):
    clock = Clock()
    source = ImagesSource("belt", folder, watch=True, clock=clock)
    source.read(0)
    look_again(source, clock)
    assert [source.read(0).payload.name for _ in range(2)] == ["2.jpg", "10.jpg"]
    (folder / "2.jpg").write_bytes(b"a new snapshot under the old name")
    assert look_again(source, clock) is None
    assert look_again(source, clock).payload.name == "2.jpg"


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


def watch(folder, answered, clock, **options):
    """Names of the pictures that a watched folder gives at a start, all answered."""
    source = ImagesSource("belt", folder, watch=True, answered=answered, clock=clock, **options)
    given = []
    source.read(0)
    while (frame := look_again(source, clock)) is not None:
        given.append(frame.origin.name)
        frame.settle(True)
    source.close()
    return given


def test_what_was_answered_does_not_come_again_after_a_restart_or_an_edit(folder, tmp_path_factory):
    clock, path = Clock(), tmp_path_factory.mktemp("state") / "belt.answered"
    answered = AnsweredFiles(path)
    assert watch(folder, answered, clock) == ["1.JPG", "2.jpg", "10.jpg"]
    assert watch(folder, answered, clock, fps=5) == []
    answered.close()
    for name in ("3.jpg", "4.jpg"):
        (folder / name).write_bytes(b"new")
    assert watch(folder, AnsweredFiles(path), clock) == ["3.jpg", "4.jpg"]


def test_a_picture_that_was_given_and_not_answered_comes_again_at_the_next_start(folder):
    clock, answered = Clock(), AnsweredFiles()
    source = ImagesSource("belt", folder, watch=True, answered=answered, clock=clock)
    source.read(0)
    look_again(source, clock).settle(True)
    assert look_again(source, clock).origin.name == "2.jpg"  # it was under way when the daemon was killed
    assert watch(folder, answered, clock) == ["2.jpg", "10.jpg"]


def test_a_picture_under_way_is_not_given_twice(folder):
    clock = Clock()
    source = ImagesSource("belt", folder, watch=True, clock=clock)
    source.read(0)
    given = [look_again(source, clock) for _ in range(8)]
    assert [frame.origin.name for frame in given if frame is not None] == ["1.JPG", "2.jpg", "10.jpg"]


def test_subfolders_are_taken_on_request_with_their_names(folder):
    for name in ("2026/11/29/cam_2.jpg", "2026/11/29/cam_10.jpg", "2026/11/3/cam_1.jpg", ".hidden/x.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"picture")
    (folder / "link").symlink_to(folder, target_is_directory=True)
    clock, found = Clock(), ["2026/11/3/cam_1.jpg", "2026/11/29/cam_2.jpg", "2026/11/29/cam_10.jpg"]
    assert watch(folder, AnsweredFiles(), clock) == ["1.JPG", "2.jpg", "10.jpg"]
    assert sorted(watch(folder, AnsweredFiles(), clock, subfolders=True)) == sorted(
        ["1.JPG", "2.jpg", "10.jpg", *found]
    )
    source = ImagesSource("belt", folder, subfolders=True)
    assert [name for name in names(source) if name.startswith("cam")] == [Path(name).name for name in found]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["2026/11/29/cam.jpg"], ["1 folders", "subfolders"]),
        (["a.heic"], [".heic"]),
        (["a.HEIC", "b.gif"], [".gif, .heic"]),
        (["c.avif"], [".avif"]),
        (["clip.mp4"], [".mp4"]),
        (["notes.txt"], [".txt"]),
        (["picture"], ["no suffix"]),
        (["f.JPG_large"], [".jpg_large"]),
        (["ok.jpg", "b.heic"], [".heic"]),
        (["ok.jpg", "b.raw"], [".raw"]),
        (["ok.jpg", "notes.txt", "Thumbs.db", "ok.xml"], None),
        (["ok.jpg", "day/other.jpg"], None),
        ([], None),
    ],
)
def test_what_a_watched_folder_passes_over_is_told(tmp_path, files, words):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    source = ImagesSource("belt", tmp_path, watch=True, clock=Clock())
    source.read(0)
    problem = source.stats().last_problem
    assert (problem is None) is (words is None)
    assert all(word in problem for word in words or ())


def test_the_origin_of_a_file_is_its_name_and_its_time(folder):
    frame = ImagesSource("belt", folder).read(0)
    assert (frame.origin.name, frame.origin.modified_at_wall_s) == (
        "1.JPG",
        (folder / "1.JPG").stat().st_mtime,
    )
    assert frame.settle is None  # a folder that is not watched is played anew at each start


def many_answered(folder, subfolders):
    """A watched folder of which more was answered than is remembered once it is gone; its files are listed."""
    answered = AnsweredFiles()
    stamps = list(list_files(folder, subfolders=subfolders))
    for stamp in stamps:
        answered.settle(stamp)
    for number in range(MAX_ABSENT + 1):
        answered.settle(FileStamp(f"{number}", number, 0, 0.0))
    return answered, stamps


@pytest.mark.parametrize("fails_at", range(3))
def test_a_share_that_fails_while_it_is_listed_costs_no_memory_of_it(folder, monkeypatch, fails_at):
    answered, stamps = many_answered(folder, False)
    calls = []

    def list_some(*args, **options):
        calls.append(args)
        for number, stamp in enumerate(list_files(*args, **options)):
            if number == fails_at and len(calls) == 2:
                raise OSError(112, "Host is down")
            yield stamp

    monkeypatch.setattr("edge_runtime.sources.images.list_files", list_some)
    source = ImagesSource("belt", folder, watch=True, answered=answered, clock=(clock := Clock()))
    for _ in range(2):
        source.read(0)
        clock.now_s += 100
    assert len(calls) == 2
    assert all(stamp in answered for stamp in stamps)
    assert "Host is down" in source.stats().last_problem


def test_a_folder_in_it_that_cannot_be_listed_is_told_and_not_forgotten(folder, monkeypatch):
    for name in ("a/1.jpg", "b/2.jpg"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(b"picture")
    answered, _ = many_answered(folder, True)
    before, scandir = len(answered), os.scandir

    def fail_at_a(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("os.scandir", fail_at_a)
    source = ImagesSource(
        "belt", folder, watch=True, subfolders=True, answered=answered, clock=(clock := Clock())
    )
    source.read(0)
    assert len(answered) == before
    assert "Permission denied" in source.stats().last_problem
    monkeypatch.undo()
    clock.now_s += 100
    source.read(0)
    assert (len(answered), source.stats().last_problem) == (5, None)


@pytest.mark.parametrize("failures", range(1, 6))
def test_a_file_lost_to_errors_of_the_engine_comes_again_until_it_is_answered(folder, failures):
    clock, answered = Clock(), AnsweredFiles()
    source = ImagesSource("belt", folder, watch=True, answered=answered, clock=clock)
    given = tries(source, clock, lambda number: number > failures)
    assert given == {"1.JPG": failures + 1, "2.jpg": failures + 1, "10.jpg": failures + 1}
    assert len(answered) == 3


def test_a_file_on_which_the_engine_always_fails_is_given_up(folder):
    clock, answered = Clock(), AnsweredFiles()
    source = ImagesSource("belt", folder, watch=True, answered=answered, clock=clock)
    assert set(tries(source, clock, lambda _: False).values()) == {6}
    assert len(answered) == 3


def test_a_lost_file_waits_before_it_comes_again_and_is_another_one_when_it_was_replaced(folder):
    clock = Clock()
    source = ImagesSource("belt", folder, watch=True, clock=clock)
    source.read(0)
    look_again(source, clock).settle(False)
    for _ in range(2):
        look_again(source, clock).settle(True)
    lost_at_s = clock.now_s
    while (frame := look_again(source, clock)) is None:
        assert clock.now_s - lost_at_s < 10
    assert clock.now_s - lost_at_s >= 1
    frame.settle(False)
    (folder / "1.JPG").write_bytes(b"another picture")
    replaced_at_s = clock.now_s
    while look_again(source, clock) is None:
        assert clock.now_s - replaced_at_s < 3


def tries(source, clock, is_judged):
    """How often each file is given within five minutes."""
    given = Counter()
    source.read(0)
    end_s = clock.now_s + 300
    while clock.now_s < end_s:
        if (frame := look_again(source, clock)) is not None:
            given[frame.origin.name] += 1
            frame.settle(is_judged(given[frame.origin.name]))
    return given
