import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.config import Config, load_config
from edge_runtime.config import watcher as watcher_module
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.errors import ConfigError
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import WAIT_S

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
    looks: list[tuple[int, ...]] = []
    look = watcher_module._signature
    monkeypatch.setattr(watcher_module, "_signature", lambda path: looks.append(look(path)) or looks[-1])
    path.write_text(GOOD % 2)
    written = look(path)
    assert recorder.fps() == 2
    assert looks.count(written) <= 3
    assert 4 * watcher_module.LOOK_S <= 2.0


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
    assert "at most" in str(recorder.error(timeout_s=0))


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
