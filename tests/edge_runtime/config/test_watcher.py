import contextlib
import errno
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from calibration.stats.regular_file import read_regular
from edge_runtime.config import Config, load_config
from edge_runtime.config import watcher as watcher_module
from edge_runtime.config.watcher import LOOK_S, ConfigWatcher
from edge_runtime.errors import ConfigError
from edge_runtime.system.regular_file import Marks, is_being_written
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

GOOD = """\
device: belt-3
models: {parts: {bundle: parts}}
cameras: {belt: {path: a.mp4, model: parts, fps: %s}}
"""


class Recorder:
    """Collects what the watch hands on."""

    def __init__(self) -> None:
        self.seen: queue.Queue[Config | ConfigError] = queue.Queue()

    def fps(self, timeout_s: float = WAIT_S) -> float | None:
        got = self.seen.get(timeout=timeout_s)
        assert isinstance(got, Config), got
        return got.cameras["belt"].fps

    def error(self, timeout_s: float = WAIT_S) -> ConfigError:
        got = self.seen.get(timeout=timeout_s)
        assert isinstance(got, ConfigError), got
        return got


def watcher(path: Path, recorder: Recorder, **options: Any) -> ConfigWatcher:
    put = recorder.seen.put
    options = {"on_change": put, "on_error": put, "crashes": Crashes(), **options}
    return ConfigWatcher(path, {}, current=load_config(path, {}), **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(GOOD % 1)
    return file


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "LOOK_S", 0.1)


@pytest.fixture
def unhurried(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For edits with a gap in which there is no whole file: two looks must not fall into it, also on a busy machine."""
    monkeypatch.setattr(watcher_module, "LOOK_S", LOOK_S)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def watch(path: Path, recorder: Recorder) -> Iterator[ConfigWatcher]:
    watch = watcher(path, recorder)
    watch.start()
    yield watch
    watch.stop()
    assert not any(thread.name == "config-watch" for thread in threading.enumerate())


def test_a_good_edit_applies_within_a_few_looks(
    watch: ConfigWatcher, path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list[Marks]()
    look = watcher_module.read_marks
    monkeypatch.setattr(watcher_module, "read_marks", lambda *paths: looks.append(look(*paths)) or looks[-1])
    path.write_text(GOOD % 2)
    written = look(path)
    assert recorder.fps() == 2
    assert looks.count(written) <= 3
    assert 4 * LOOK_S <= 2.0


def test_an_editor_that_renames_is_followed(watch: ConfigWatcher, path: Path, recorder: Recorder) -> None:
    for fps in (2, 3):
        temporary = path.with_name(".config.yaml.swp")
        temporary.write_text(GOOD % fps)
        temporary.replace(path)
        assert recorder.fps() == fps


def test_a_bad_edit_is_refused_with_line_and_key_and_the_next_good_one_counts(
    watch: ConfigWatcher, path: Path, recorder: Recorder
) -> None:
    path.write_text(GOOD % "soon")
    (problem,) = recorder.error().problems
    assert (problem.where, problem.line) == ("cameras.belt.fps", 3)
    path.write_text("][")
    assert recorder.error().problems
    path.write_text(GOOD % 4)
    assert recorder.fps() == 4
    assert (watch.edits, watch.refused) == (1, 2)


def test_a_deleted_file_is_an_error_and_its_return_an_edit(
    watch: ConfigWatcher, path: Path, recorder: Recorder
) -> None:
    path.unlink()
    assert recorder.error().problems
    path.write_text(GOOD % 5)
    assert recorder.fps() == 5


def test_an_edit_that_changes_nothing_is_not_handed_on(
    watch: ConfigWatcher, path: Path, recorder: Recorder
) -> None:
    path.write_text("# a comment\n" + GOOD % 1)
    (path.parent / "outbox.db").write_text("x")
    watch.check_now()
    path.write_text(GOOD % 6)
    assert recorder.fps() == 6
    assert watch.edits == 1


def test_the_way_back_from_a_bad_edit_is_handed_on(path: Path, recorder: Recorder) -> None:
    """Otherwise the refusal would stand in the health report for ever."""
    watch = watcher(path, recorder)
    path.write_text("][")
    watch.check_now()
    assert recorder.error(timeout_s=0)
    path.write_text(GOOD % 1)
    watch.check_now()
    assert recorder.fps(timeout_s=0) == 1
    path.write_text("# once is enough\n" + GOOD % 1)
    watch.check_now()
    assert recorder.seen.empty()


def test_an_unchanged_file_is_handed_on_again_when_asked(path: Path, recorder: Recorder) -> None:
    watch = watcher(path, recorder)
    path.write_text(GOOD % 2)
    watch.check_now()
    assert recorder.fps(timeout_s=0) == 2
    watch.check_now()
    assert recorder.seen.empty()
    watch.check_now(again=True)
    assert recorder.fps(timeout_s=0) == 2


def test_an_endless_file_is_refused(path: Path, recorder: Recorder) -> None:
    watch = watcher(path, recorder)
    path.unlink()
    path.symlink_to("/dev/zero")
    watch.check_now()
    assert "no regular file" in str(recorder.error(timeout_s=0))


def test_a_swapped_link_is_followed(tmp_path: Path, recorder: Recorder) -> None:
    """As Kubernetes updates a ConfigMap: config.yaml -> ..data/config.yaml, and ..data is swapped."""
    for name, fps in (("..v1", 1), ("..v2", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(GOOD % fps)
    (tmp_path / "..data").symlink_to("..v1")
    path = tmp_path / "config.yaml"
    path.symlink_to("..data/config.yaml")
    watch = watcher(path, recorder)
    watch.start()
    (tmp_path / "..new").symlink_to("..v2")
    os.replace(tmp_path / "..new", tmp_path / "..data")  # noqa: PTH105 - pathlib would follow the link
    assert recorder.fps() == 2
    watch.stop()


@pytest.mark.usefixtures("unhurried")
def test_a_replaced_folder_is_watched_again(watch: ConfigWatcher, path: Path, recorder: Recorder) -> None:
    folder = path.parent
    folder.rename(folder.with_name("old"))
    folder.mkdir()
    path.write_text(GOOD % 7)
    assert recorder.fps(timeout_s=WAIT_S) == 7
    path.write_text(GOOD % 8)
    assert recorder.fps(timeout_s=WAIT_S) == 8


def test_a_failing_reaction_does_not_end_the_watch(path: Path, recorder: Recorder) -> None:
    calls: list[Config] = []

    def react(config: Config) -> None:
        calls.append(config)
        if len(calls) == 1:
            raise ValueError("no such bundle")
        recorder.seen.put(config)

    crashes = Crashes()
    watch = watcher(path, recorder, on_change=react, crashes=crashes)
    watch.start()
    path.write_text(GOOD % 2)
    deadline_s = time.monotonic() + WAIT_S
    while not crashes.total and time.monotonic() < deadline_s:
        threading.Event().wait(0.02)
    path.write_text(GOOD % 3)
    assert recorder.fps() == 3
    assert crashes.by_thread() == {"config-watch": 1}
    watch.stop()


def test_a_thousand_garbage_edits_leave_the_last_good_one(path: Path, recorder: Recorder) -> None:
    watch = watcher(path, recorder)
    for i in range(1000):
        path.write_bytes((GOOD % 1).encode()[: i % 90] + bytes([i % 256, 0x3A, i // 256]))
        watch.check_now()
    path.write_text(GOOD % 9)
    watch.check_now()
    seen = [recorder.seen.get_nowait() for _ in range(recorder.seen.qsize())]
    assert sum(isinstance(item, Config) for item in seen) == 1
    assert watch.refused == len(seen) - 1 > 500


KINDS = [
    "folder", "pipe", "socket", "device", "link to nothing", "link to itself", "link to a pipe", "empty", "unreadable",
]  # fmt: skip


def put_in_place(path: Path, kind: str) -> None:
    path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path.name)
        case "device":
            path.symlink_to("/dev/zero")
        case "link to nothing":
            path.symlink_to("nothing")
        case "link to itself":
            path.symlink_to(path.name)
        case "link to a pipe":
            os.mkfifo(path.with_name("pipe"))
            path.symlink_to("pipe")
        case "empty":
            path.touch()
        case _:
            path.write_bytes(b"\xff\xfe\0")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_in_the_place_of_the_file_is_refused_and_the_file_comes_back(
    watch: ConfigWatcher, path: Path, recorder: Recorder, kind: str, request: pytest.FixtureRequest
) -> None:
    put_in_place(path, kind)
    assert recorder.error().problems
    temporary = path.with_name("new")
    temporary.write_text(GOOD % 2)
    if kind == "folder":
        request.getfixturevalue("unhurried")
        path.rmdir()
    temporary.replace(path)
    assert recorder.fps() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_with_anything_else_than_a_file_ends_with_words(path: Path, kind: str) -> None:
    put_in_place(path, kind)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    "code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EIO, errno.ETIMEDOUT]
)
@pytest.mark.parametrize("what", ["config.yaml", "password"])
def test_a_file_that_cannot_be_read_just_now_is_read_later(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, code: int, what: str
) -> None:
    (path.parent / "password").write_text("secret-1")
    with_password = GOOD + "mqtt: {host: h, user: u, password_file: password}\n"
    path.write_text(with_password % 1)
    watch, is_broken = watcher(path, recorder), [True]

    def read(path: Path, most_bytes: int) -> bytes:
        if is_broken[0] and path.name == what:
            raise OSError(code, os.strerror(code))
        return read_regular(path, most_bytes)

    for module in ("load", "watcher"):
        monkeypatch.setattr(f"edge_runtime.config.{module}.read_regular", read)
    path.write_text(with_password % 2)
    for _ in range(3):
        assert not watch.check_now()
    assert recorder.seen.empty()
    is_broken[0] = False
    assert watch.check_now()
    assert recorder.fps(timeout_s=0) == 2
    assert watch.refused == 0


def test_a_file_that_cannot_be_read_for_long_is_said_once(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watcher(path, recorder)

    def read(*_: object) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as broken:
        for module in ("load", "watcher"):
            broken.setattr(f"edge_runtime.config.{module}.read_regular", read)
        for _ in range(3 * watcher_module.UNREADABLE_LOOKS):
            watch.check_now()
    assert "Too many open files" in str(recorder.error(timeout_s=0))
    assert recorder.seen.empty()
    watch.check_now()
    assert recorder.fps(timeout_s=0) == 1  # in force again


@pytest.mark.usefixtures("unhurried")
def test_a_new_password_in_its_file_is_an_edit(path: Path, recorder: Recorder) -> None:
    (path.parent / "password").write_text("secret-1\n")
    path.write_text(GOOD % 1 + "mqtt: {host: h, user: u, password_file: password}\n")
    watch = watcher(path, recorder)
    watch.start()
    (path.parent / "password").write_text("secret-2\n")
    got = recorder.seen.get(timeout=WAIT_S)
    assert isinstance(got, Config)
    assert got.mqtt is not None
    assert got.mqtt.password_text() == "secret-2"
    (path.parent / "password").unlink()
    assert recorder.error().problems[0].where == "mqtt.password_file"
    (path.parent / "password").write_text("secret-2\n")
    assert isinstance(recorder.seen.get(timeout=WAIT_S), Config)
    watch.stop()


def test_a_file_that_is_still_open_for_writing_waits(
    watch: ConfigWatcher, path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(
        watcher_module, "is_being_written", lambda path: asked.append(is_being_written(path)) or asked[-1]
    )
    with path.open("w") as file:
        file.write(GOOD % 2)
        file.flush()
        assert until(lambda: len(asked) >= 3)
        assert all(asked), "this file system gives no leases"
        assert recorder.seen.empty()
        file.write("drift: {window_frames: 64}\n")
    got = recorder.seen.get(timeout=WAIT_S)
    assert isinstance(got, Config)
    assert got.drift.window_frames == 64
    assert watch.edits == 1


def test_a_file_that_stays_open_is_read_after_a_while(
    watch: ConfigWatcher, path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "OPEN_S", 0.75)
    with path.open("w") as file:
        file.write(GOOD % 2)
        file.flush()
        assert recorder.fps() == 2


def test_an_unexpected_failure_is_a_refused_edit(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = Crashes()
    watch = watcher(path, recorder, crashes=crashes)

    def fail(*_: object) -> Config:
        raise RecursionError("too deep")

    with monkeypatch.context() as broken:
        broken.setattr(watcher_module, "load_config", fail)
        path.write_text(GOOD % 2)
        assert watch.check_now()
    assert "RecursionError" in str(recorder.error(timeout_s=0))
    assert crashes.by_thread() == {"config-watch": 1}
    path.write_text(GOOD % 3)
    watch.check_now()
    assert recorder.fps(timeout_s=0) == 3


def test_what_was_refused_is_looked_at_again_and_not_said_twice(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "AGAIN_S", 0.5)
    watch = watcher(path, recorder)
    watch.start()
    path.write_text(GOOD % 2 + "mqtt: {host: h, user: u, password_file: later}\n")
    assert recorder.error().problems[0].where == "mqtt.password_file"
    looks: list[bool] = []
    check = watch._check
    monkeypatch.setattr(watch, "_check", lambda **how: looks.append(check(**how)) or looks[-1])
    assert until(lambda: len(looks) >= 2)
    assert (recorder.seen.empty(), watch.refused) == (True, 1)
    (path.parent / "later").write_text("secret")
    assert recorder.fps() == 2
    watch.stop()


def test_what_could_not_be_used_for_what_it_names_is_handed_on_again_whenever_that_is_asked(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "AGAIN_S", 0.3)
    watch = watcher(path, recorder, refused=ConfigError("the bundle", ()))
    watch.start()
    try:
        for _ in range(3):
            assert recorder.fps() == 1
            watch.look_again()
    finally:
        watch.stop()


def test_a_refusal_that_a_start_has_said_is_not_said_again(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "AGAIN_S", 0.3)
    current = load_config(path, {})
    path.write_text(GOOD % "soon")
    with pytest.raises(ConfigError) as refused:
        load_config(path, {})
    watch = ConfigWatcher(
        path,
        {},
        current=current,
        on_change=recorder.seen.put,
        on_error=recorder.seen.put,
        crashes=Crashes(),
        refused=refused.value,
    )
    watch.start()
    try:
        with pytest.raises(queue.Empty):
            recorder.error(timeout_s=1.0)
        path.write_text(GOOD % 7)
        assert recorder.fps() == 7
    finally:
        watch.stop()


def test_a_key_is_revoked_also_by_an_edit_that_is_refused_for_something_else(
    path: Path, recorder: Recorder
) -> None:
    for name in ("anna", "otto"):
        (path.parent / f"{name}.pub").touch()
    keys = "commands: {keys: {anna: {file: anna.pub}, otto: {file: otto.pub}}}\n"
    path.write_text(GOOD % 1 + keys)
    watch = watcher(path, recorder)
    path.write_text(GOOD % "soon" + keys.replace("anna: {file: anna.pub}, ", ""))
    watch.check_now()
    restricted = recorder.seen.get(timeout=WAIT_S)
    assert isinstance(restricted, Config)
    assert set(restricted.commands.keys) == {"otto"}
    assert restricted.cameras["belt"].fps == 1
    assert "fps" in str(recorder.error())
    path.write_text(GOOD % 2 + keys)
    watch.check_now()
    mended = recorder.seen.get(timeout=WAIT_S)
    assert isinstance(mended, Config)
    assert set(mended.commands.keys) == {"anna", "otto"}
