"""The daemon's life and its live edits, with scripted parts: what is opened, closed and kept, and in which order."""

import io
import queue
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from edge_runtime.config import parse_config
from edge_runtime.daemon import lifecycle
from edge_runtime.daemon.background_look import LOOK_EVERY_S
from edge_runtime.daemon.edit_under_way import Commanded, CommandedEdit, Edits
from edge_runtime.daemon.home_assistant import HomeAssistant
from edge_runtime.daemon.lifecycle import MODEL_START_S, Daemon, StopRequest
from edge_runtime.daemon.listeners import Listeners
from edge_runtime.daemon.model_runtime import ModelRuntime, ThreadStatus
from edge_runtime.daemon.reload import DEADLINE_S, ConfigReloader
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.status import StatusReporter
from edge_runtime.daemon.trust_watch import TrustWatch
from edge_runtime.deployment import versions
from edge_runtime.deployment.versions import Skipped
from edge_runtime.errors import (
    BundleError,
    CommandError,
    ConfigError,
    EdgeRuntimeError,
    EngineError,
    ExitCode,
    OpeningStopped,
    Problem,
    StateError,
)
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.messaging.commands.under_way import UnderWay
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import ConfigApplied, ConfigRefused, Event, VersionMended
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.recalibration.task import TaskRequest
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread
from edge_runtime.system.systemd import SystemdNotify

YAML = """
device: box
state_dir: {state}
models:
  parts: {{bundle: parts, threads: {threads}}}
  tools: {{bundle: tools, threads: {threads}}}
cameras:
  belt: {{path: rtsp://one/1, model: parts, fps: {fps}}}
  bench: {{path: rtsp://two/1, model: tools}}
"""


class Diary(list):
    """What happened, in order."""


class Runtime:
    version, hangs, untried = 1, False, None

    def __init__(self, diary, name, config):
        self.diary, self.name, self.config, self.controller = diary, name, config, None
        manifest = SimpleNamespace(sha256=f"hash of {self.version}")
        self.bundle, self.skipped = SimpleNamespace(id=f"{name}/{self.version}", manifest=manifest), None
        self.rollout = SimpleNamespace(
            is_handing_over=True, hand_over_failed=diary.append, has_passed=lambda found: found == "hash of 1"
        )
        self.pipeline = SimpleNamespace(name=name, is_idle=lambda: True, due_since_s=lambda: None)
        self.pipeline.metrics = SimpleNamespace(last_progress_at_s=None, first_result_at_s=None)
        self.pipeline.slot = SimpleNamespace(failures_in_a_row=0)
        self.pipeline.continue_counts = lambda before: diary.append(f"count on {before.name}")

    def start(self):
        self.diary.append(f"start {self.name}")

    def stop(self, replaced=None):
        self.diary.append(f"stop {self.name}")
        return not self.hangs

    def status(self):
        return None

    def take_over(self, old):
        self.diary.append(f"take over {old.name}")

    def reconfigure(self, config):
        pass


class Streams:
    """Stands for ``Cameras``."""

    def __init__(self, diary):
        self.diary, self.open_on = diary, {}

    def open(self, stream, camera, pipeline):
        self.diary.append(f"open {stream}")
        self.open_on[stream] = pipeline.name

    def move(self, pipelines):
        for stream, pipeline in pipelines.items():
            self.diary.append(f"move {stream}")
            self.open_on[stream] = pipeline.name

    def close(self, stream):
        self.diary.append(f"close {stream}")
        self.open_on.pop(stream, None)

    def stop_all(self):
        self.open_on.clear()

    def are_finished(self):
        return False

    def status(self, configured):
        return {stream: configured[stream].priority for stream in self.open_on}

    def facts(self):
        return ()


def fulfil(future, work):
    try:
        future.set_result(work())
    except (EdgeRuntimeError, ZeroDivisionError) as err:
        future.set_exception(err)


class DaemonBench:
    def emit(self, fact, model=None):
        self.delivery.add_event(Event(0.0, fact, model))

    def __init__(self, tmp_path):
        self.opens_at_once, self.can_be_stopped = True, False
        self.promoted, self.commanded = queue.SimpleQueue(), Commanded()
        self.diary, self.opened, self.errors = Diary(), [], {}
        self.folder = tmp_path
        self.streams = Streams(self.diary)
        self.lock = io.BytesIO()
        self.stop, self.edits, self.delivery = StopRequest(), Edits(), Delivery("box", lambda result: None)
        self.running, self.crashes = Running(self.config()), Crashes()
        self.reporter = StatusReporter(self.running, self.streams, self.delivery, self.crashes)
        self.restarts, self.looks_again = [], []
        self.looked, self.kept, notify, resources = [], [], SystemdNotify({}), ExitStack()
        resources.callback(self.lock.close)
        resources.callback(lambda: self.diary.append("close outboxes"))
        reloader = ConfigReloader(
            running=self.running,
            cameras=self.streams,
            delivery=self.delivery,
            notify=notify,
            edits=self.edits,
            promoted=self.promoted,
            crashes=self.crashes,
            open_model=self.open_model,
            open_connection=self.open_connection,
            configure_log=lambda config: None,
            emit=self.emit,
            commanded=self.commanded,
            restart=self.restart,
            prove_start=lambda config: self.fail_if_set("new start"),
            look_again=lambda: self.looks_again.append(1),
            keep_config=lambda config, by, changed: self.kept.append((config, by, changed)),
            trust=TrustWatch(self.running, self.crashes, self.run_in_background),
            run_in_background=self.run_in_background,
        )
        self.daemon = Daemon(
            emit=self.emit,
            running=self.running,
            cameras=self.streams,
            reloader=reloader,
            reporter=self.reporter,
            delivery=self.delivery,
            trends=SimpleNamespace(tick=lambda now_s: None),
            home_assistant=HomeAssistant(self.running, lambda camera: None, self.crashes),
            objects=SimpleNamespace(start=lambda: None, stop=lambda: None),
            pictures=SimpleNamespace(start=lambda: None, stop=lambda: None),
            under_way=UnderWay(self.crashes),
            listeners=Listeners(
                {"http": SimpleNamespace(start=lambda: self.fail_if_set("http"), stop=lambda: None)},
                self.running,
            ),
            recordings=SimpleNamespace(start=lambda: None, stop=lambda: None),
            watch=SimpleNamespace(
                start=lambda: None,
                stop=lambda: None,
                check_now=lambda *, again: self.looked.append(again),
            ),
            trial=SimpleNamespace(observe=lambda is_reached, now_s: None),
            notify=notify,
            stop_request=self.stop,
            resources=resources,
        )

    def restart(self):
        self.fail_if_set("restart")
        self.restarts.append(1)

    def config(self, extra="", **values):
        text = YAML.format(**{"state": self.folder, "threads": 1, "fps": 10, **values}) + extra
        return parse_config(text, "test", {})

    def fail_if_set(self, what):
        if what in self.errors:
            raise self.errors[what]

    def open_model(self, config, name, should_stop):
        self.fail_if_set(name)
        if self.can_be_stopped and should_stop():
            raise OpeningStopped(name)
        self.opened.append(Runtime(self.diary, name, config))
        return self.opened[-1]

    def open_connection(self, config):
        self.fail_if_set("connection")
        return BrokerConnection(Topics("edge", config.device), None, None, ())

    def run_in_background(self, work):
        """At once, or later by hand."""
        future = Future()
        self.open_now = lambda: fulfil(future, work)
        if self.opens_at_once:
            self.open_now()
        return future

    def start(self):
        self.daemon.startup()
        self.diary.clear()
        self.opened.clear()

    def edit(self, edit):
        self.edits.put(edit)
        self.daemon.tick(0.0)
        return self.delivery.events()[-1].fact


@pytest.fixture
def bench(tmp_path):
    return DaemonBench(tmp_path)


SKIPPED = Skipped(Path("gone"), "half copied", (("2", -1, 0),))
BAD_BUNDLE = BundleError("tools", "damaged", "a whole one", "Copy it again.")


def test_starts_models_before_cameras_and_stops_everything(bench):
    bench.daemon.stop()
    assert bench.daemon.run() == 0
    assert bench.diary == ["start parts", "start tools", "open belt", "open bench",
                           "stop parts", "stop tools", "close outboxes"]  # fmt: skip
    assert bench.lock.closed


def test_an_inference_that_hangs_at_the_stop_ends_it_with_70_after_everything_else(bench, monkeypatch):
    monkeypatch.setattr(Runtime, "hangs", True)
    bench.stop.put()
    assert bench.daemon.run() == ExitCode.SOFTWARE
    assert bench.daemon.is_hung
    assert bench.diary[-1] == "close outboxes"


def test_a_fatal_failure_ends_it_with_70(bench):
    bench.stop.fail("inference cannot work")
    assert bench.daemon.run() == 70


def test_a_vital_thread_that_only_fails_ends_it_with_70(bench):
    def write():
        raise RuntimeError("bug")

    writer = SupervisedThread("outbox-writer", write, Crashes(bench.stop.fail), pause_s=lambda _: 0.0)
    writer.start()
    assert bench.daemon.run() == ExitCode.SOFTWARE == 70
    assert bench.diary[-1] == "close outboxes"
    writer.stop()
    assert writer.join(10)


@pytest.mark.parametrize("what", ["tools", "http"])
def test_a_start_that_fails_ends_what_had_been_started(bench, what):
    bench.errors[what] = BAD_BUNDLE
    with capture_logs() as logs, pytest.raises(BundleError):
        bench.daemon.run()
    assert "stopped" not in [line["event"] for line in logs]
    assert "stop parts" in bench.diary
    assert bench.diary[-1] == "close outboxes"
    assert bench.streams.open_on == {}
    assert bench.lock.closed


def test_a_changed_camera_is_reopened_and_nothing_else(bench):
    bench.start()
    assert isinstance(bench.edit(bench.config(fps=5)), ConfigApplied)
    assert bench.kept[-1][0].cameras["belt"].fps == 5
    assert bench.diary == ["close belt", "open belt"]


def test_a_changed_model_gets_the_streams_answers_what_it_has_and_then_makes_room(bench):
    bench.start()
    assert isinstance(bench.edit(bench.config(threads=2)), ConfigApplied)
    assert sorted(bench.diary[:2]) == ["count on parts", "count on tools"]
    assert bench.diary[2:] == ["move belt", "move bench", "take over parts", "take over tools"]


def test_ticks_go_on_while_an_edit_opens_a_model_and_the_next_edit_waits(bench):
    bench.start()
    bench.opens_at_once = False
    bench.edits.put(bench.config(threads=2))
    bench.daemon.tick(0.0)
    bench.edits.put(bench.config(threads=2, fps=5))
    bench.daemon.tick(1.0)
    assert bench.diary == bench.opened == []
    bench.open_now()
    bench.daemon.tick(2.0)
    assert "take over parts" in bench.diary
    assert bench.running.config == bench.config(threads=2)
    bench.daemon.tick(3.0)
    bench.open_now()
    bench.daemon.tick(4.0)
    assert bench.running.config == bench.config(threads=2, fps=5)


def test_an_edit_whose_models_are_being_opened_makes_room_for_the_next_one(bench):
    bench.start()
    bench.opens_at_once, bench.can_be_stopped = False, True
    bench.edits.put(bench.config(threads=2))
    bench.daemon.tick(0.0)
    bench.edits.put(bench.config(threads=1, fps=5))
    bench.daemon.tick(1.0)
    bench.open_now()
    bench.daemon.tick(2.0)
    assert isinstance(bench.delivery.events()[-1].fact, ConfigRefused)
    assert bench.running.config_problem
    bench.daemon.tick(3.0)
    bench.open_now()
    bench.daemon.tick(4.0)
    assert bench.running.config == bench.config(threads=1, fps=5)
    assert bench.running.config_problem is None


def test_an_edit_that_does_not_open_is_given_up_and_the_next_one_counts(bench):
    bench.start()
    bench.opens_at_once = False
    bench.edits.put(bench.config(threads=2))
    bench.daemon.tick(0.0)
    opens_late = bench.open_now
    bench.daemon.tick(DEADLINE_S - 1.0)
    assert bench.running.config_problem is None
    bench.daemon.tick(DEADLINE_S)
    assert isinstance(bench.delivery.events()[-1].fact, ConfigRefused)
    assert bench.running.config == bench.config()
    bench.opens_at_once = True
    assert isinstance(bench.edit(bench.config(fps=5)), ConfigApplied)
    bench.diary.clear()
    opens_late()
    assert bench.diary == ["stop parts", "stop tools"]
    assert bench.running.config == bench.config(fps=5)


def test_a_model_is_opened_again_when_its_newer_version_has_become_whole(bench, tmp_path, monkeypatch):
    bench.start()
    looks, whole = [], set()
    monkeypatch.setattr(
        "edge_runtime.deployment.versions.is_mended",
        lambda one, used, trust: looks.append((one, used)) or bool(whole),
    )
    parts = bench.running.models["parts"]
    parts.skipped, parts.bundle.manifest = SKIPPED, SimpleNamespace(version=1)
    for now_s in (0.0, 1.0, LOOK_EVERY_S, LOOK_EVERY_S + 1.0):
        bench.daemon.tick(now_s)
    assert looks == [(SKIPPED, 1)] * 2
    assert bench.diary == []
    whole.add(2)
    monkeypatch.setattr(Runtime, "version", 2)
    bench.daemon.tick(3 * LOOK_EVERY_S)
    bench.daemon.tick(3 * LOOK_EVERY_S + 1.0)
    bench.daemon.tick(3 * LOOK_EVERY_S + 2.0)
    event = bench.delivery.events()[-1]
    assert (event.fact, event.model) == (VersionMended("parts/2", "parts/1"), "parts")
    assert bench.diary == ["count on parts", "move belt", "take over parts"]
    assert bench.running.config_problem is None


@pytest.mark.parametrize("error", [ZeroDivisionError(), BAD_BUNDLE])
def test_a_look_for_newer_versions_that_fails_is_counted_and_repeated(bench, monkeypatch, error):
    bench.start()
    looks = []

    def look(*_):
        looks.append(1)
        raise error

    monkeypatch.setattr("edge_runtime.deployment.versions.is_mended", look)
    bench.running.models["parts"].skipped = SKIPPED
    bench.running.models["parts"].bundle.manifest = SimpleNamespace(version=1)
    for now_s in (0.0, 1.0, LOOK_EVERY_S, LOOK_EVERY_S + 1.0):
        bench.daemon.tick(now_s)
    assert len(looks) == 2
    assert bench.crashes.by_thread() == {"mended-versions": 2}
    assert isinstance(bench.edit(bench.config(fps=5)), ConfigApplied)


def test_systemd_is_asked_for_time_again_while_a_first_opening_goes_on(bench, monkeypatch):
    asked, opens = [], bench.open_model

    def open_slowly(config, name, should_stop):
        assert [should_stop() for _ in range(3)] == [False] * 3
        return opens(config, name, should_stop)

    monkeypatch.setattr(SystemdNotify, "extend_start", lambda _, seconds: asked.append(seconds))
    bench.daemon.reloader.open_model = open_slowly
    bench.start()
    assert asked == [MODEL_START_S] * 2
    asked.clear()
    monkeypatch.setattr(lifecycle, "_ASK_EVERY_S", 0.0)
    bench.daemon.startup()
    assert asked == [MODEL_START_S] * 8


@pytest.fixture
def mended(bench, monkeypatch, tmp_path):
    """A daemon one of whose skipped versions has been mended."""
    bench.start()
    parts = bench.running.models["parts"]
    parts.skipped = Skipped(tmp_path / "parts", "half copied", (("2", -1, 0),))
    parts.bundle.manifest = SimpleNamespace(version=1)
    seen = lambda one, used, trust: versions.take_fingerprint(one.root) != one.seen  # noqa: E731 - as is_mended begins
    monkeypatch.setattr("edge_runtime.deployment.versions.is_mended", seen)
    return bench


def look(bench, searches):
    """Some searches for mended versions, by their numbers, and what follows from each."""
    for number in searches:
        for part in (0.0, 0.2, 0.4):
            bench.daemon.tick((number + part) * LOOK_EVERY_S)


@pytest.mark.parametrize("error", [BAD_BUNDLE, StateError("no engine"), ZeroDivisionError()])
def test_a_mended_version_that_fails_is_no_fault_of_the_configuration_and_tried_once(mended, error, tmp_path):
    mended.errors["parts"] = error
    tries, opens = [], mended.open_model
    mended.daemon.reloader.open_model = lambda *given: tries.append(given) or opens(*given)
    events = len(mended.delivery.events())
    look(mended, range(4))
    assert len(tries) == 1
    assert mended.running.config_problem is None
    assert len(mended.delivery.events()) == events
    (tmp_path / "parts" / "3").mkdir(parents=True)
    look(mended, range(4, 8))
    assert len(tries) == 2
    del mended.errors["parts"]
    (tmp_path / "parts" / "4").mkdir()
    look(mended, [8])
    assert mended.diary[-1] == "take over parts"


def test_a_mended_version_that_hangs_is_given_up_without_a_word_on_the_configuration(mended):
    mended.opens_at_once = False
    events = len(mended.delivery.events())
    mended.daemon.tick(0.0)
    mended.open_now()  # the search
    mended.daemon.tick(1.0)
    mended.daemon.tick(1.0 + DEADLINE_S)
    assert mended.running.config_problem is None
    assert len(mended.delivery.events()) == events


def test_an_opening_that_gives_signs_of_life_is_not_given_up(bench):
    bench.start()
    bench.opens_at_once = False
    asked = []
    bench.daemon.reloader.open_model = lambda config, name, should_stop: (
        asked.append(should_stop) or Runtime(bench.diary, name, config)
    )
    bench.edits.put(bench.config(threads=2))
    bench.daemon.tick(0.0)
    bench.open_now()
    bench.daemon.reloader._edit.opened = Future()  # as if it still waited for the first opening
    for now_s in (0.9, 1.8, 2.7):
        assert not asked[0]()
        bench.daemon.tick(now_s * DEADLINE_S)
    assert bench.running.config_problem is None
    bench.daemon.tick(3.6 * DEADLINE_S)
    assert bench.running.config_problem is None
    bench.daemon.tick(3.7 * DEADLINE_S)
    assert bench.running.config_problem is not None
    assert asked[0]()


def test_a_daemon_that_is_stopped_while_it_opens_its_first_model_ends_in_good_order(bench):
    bench.can_be_stopped = True
    bench.daemon.stop()
    assert bench.daemon.run() == 0
    assert bench.diary == ["close outboxes"]


def test_a_daemon_that_ends_while_an_edit_opens_a_model_does_not_wait_for_it(bench):
    bench.start()
    bench.opens_at_once = False
    bench.edits.put(bench.config(threads=2))
    bench.daemon.tick(0.0)
    bench.daemon.shutdown()
    assert bench.diary == ["stop parts", "stop tools", "close outboxes"]


def test_the_status_of_a_camera_has_the_priority_of_now(bench):
    bench.start()
    new = bench.config()
    cameras = {**new.cameras, "belt": new.cameras["belt"].model_copy(update={"priority": "high"})}
    assert isinstance(bench.edit(new.model_copy(update={"cameras": cameras})), ConfigApplied)
    assert bench.diary == []
    assert bench.reporter.status().cameras == {"belt": "high", "bench": "normal"}


def test_cpus_that_threads_were_planned_for_are_listed_apart_from_those_they_are_bound_to():
    def threads(*bound_to):
        workers = tuple(SimpleNamespace(bound_to=cpus) for cpus in bound_to)
        return ModelRuntime("m", None, ThreadPlan(1, 2, "why", (0, 1)), None, workers, None)._threads()

    assert threads((), ()) == ThreadStatus(1, 2, "why", planned_cpus=(0, 1), bound_to=None)
    assert threads((0,), (1,)).bound_to == [(0,), (1,)]


def test_a_removed_model_and_its_camera_go(bench):
    bench.start()
    new = bench.config()
    models, cameras = {"parts": new.models["parts"]}, {"belt": new.cameras["belt"]}
    assert isinstance(
        bench.edit(new.model_copy(update={"models": models, "cameras": cameras})), ConfigApplied
    )
    assert bench.diary == ["close bench", "stop tools"]


def test_when_one_of_two_models_cannot_be_opened_both_old_ones_go_on(bench):
    bench.start()
    bench.errors["tools"] = BAD_BUNDLE
    answer = bench.edit(bench.config(threads=2))
    assert "Copy it again" in answer.problems[0]
    assert bench.diary == ["stop parts"]  # the new one, which never ran
    assert bench.streams.open_on == {"belt": "parts", "bench": "tools"}
    assert bench.running.config == bench.config()


def test_when_the_broker_section_cannot_be_used_no_model_was_touched(bench):
    bench.start()
    bench.errors["connection"] = StateError("the state directory is gone")
    assert isinstance(bench.edit(bench.config("mqtt: {host: broker}", threads=2)), ConfigRefused)
    assert bench.streams.open_on == {"belt": "parts", "bench": "tools"}
    assert sorted(bench.diary) == ["stop parts", "stop tools"]  # the new ones, which never ran


def test_an_edit_that_meets_a_bug_is_refused(bench):
    bench.start()
    bench.errors["tools"] = ZeroDivisionError("bug")
    answer = bench.edit(bench.config(threads=2))
    assert "ZeroDivisionError" in answer.problems[0]
    assert bench.crashes.by_thread() == {"config-edit": 1}
    assert bench.streams.open_on == {"belt": "parts", "bench": "tools"}


def test_a_good_edit_after_a_refused_one_clears_the_problem(bench):
    bench.start()
    bench.edit(ConfigError("box.yaml", (Problem("device", 1, "missing", "a name"),)))
    assert bench.running.config_problem is not None
    bench.edit(bench.config())
    assert bench.running.config_problem is None


def test_a_command_for_a_stream_of_another_model_is_refused_at_once(bench):
    bench.daemon.startup()
    asked, answer = [], Future()
    answer.set_result({})
    for runtime in bench.opened:
        runtime.controller = SimpleNamespace(request=lambda one: asked.append(one.stream) or answer)
    with pytest.raises(CommandError, match=r"'bench'.*belt"):
        bench.running.request(TaskRequest("commission", stream="bench"), "parts")
    bench.running.request(TaskRequest("commission", stream="belt"), "parts")
    bench.running.request(TaskRequest("commission"), "parts")
    assert asked == ["belt", None]


def test_after_a_refused_edit_sighup_tries_it_once_more(bench):
    bench.start()
    bench.daemon.look_at_config()
    bench.daemon.tick(0.0)
    bench.edit(ConfigError("box.yaml", (Problem("device", 1, "missing", "a name"),)))
    bench.daemon.look_at_config()
    bench.daemon.tick(0.0)
    assert bench.looked == [False, True]


def test_what_waits_for_a_restart_does_not_count_before(bench, tmp_path):
    bench.start()
    answer = bench.edit(bench.config(state=tmp_path / "elsewhere"))
    assert answer.after_restart == ("state_dir",)
    bench.edit(bench.config(state=tmp_path / "elsewhere", threads=2))
    assert {runtime.config.state_dir for runtime in bench.opened} == {tmp_path}
    assert bench.running.config.state_dir == tmp_path


def test_a_version_that_passed_its_rollout_is_opened_as_the_models_own(bench):
    bench.start()
    bench.promoted.put("parts")
    bench.daemon.tick(0.0)
    assert len(bench.opened) == 1
    bench.daemon.tick(1.0)
    assert bench.diary == ["count on parts", "move belt", "take over parts"]
    assert not [event for event in bench.delivery.events() if isinstance(event.fact, ConfigApplied)]
    bench.daemon.tick(2.0)
    assert len(bench.opened) == 1


def test_one_that_is_the_models_own_already_is_not_opened_again(bench):
    bench.start()
    bench.running.models["parts"].rollout.is_handing_over = False
    bench.promoted.put("parts")
    bench.promoted.put("gone")
    for now_s in (0.0, 1.0, 2.0):
        bench.daemon.tick(now_s)
    assert bench.opened == []


def test_one_that_cannot_be_opened_is_told_and_says_nothing_about_the_configuration(bench):
    bench.start()
    bench.errors["parts"] = EngineError("its files are gone")
    bench.promoted.put("parts")
    bench.daemon.tick(0.0)
    bench.daemon.tick(1.0)
    assert bench.diary == ["its files are gone"]
    assert bench.running.config_problem is None


def test_what_was_not_tried_does_not_take_over_although_it_can_be_opened(bench, monkeypatch):
    """The folder of the version that passed was removed or changed, and another version was found."""
    bench.start()
    monkeypatch.setattr(Runtime, "version", 3)
    bench.promoted.put("parts")
    bench.daemon.tick(0.0)
    bench.daemon.tick(1.0)
    stopped, reason = bench.diary
    assert stopped == "stop parts"
    assert "parts/3" in reason
    assert bench.running.models["parts"].bundle.id == "parts/1"


def test_an_edit_comes_before_a_promotion_which_is_not_forgotten(bench):
    bench.start()
    bench.opens_at_once, bench.can_be_stopped = False, True
    bench.promoted.put("parts")
    bench.daemon.tick(0.0)
    bench.edits.put(bench.config(threads=2))
    bench.daemon.tick(1.0)
    bench.open_now()  # which stops for the edit
    bench.daemon.tick(2.0)
    bench.daemon.tick(3.0)
    bench.open_now()
    bench.daemon.tick(4.0)
    assert isinstance(bench.delivery.events()[-1].fact, ConfigApplied)
    edited = len(bench.opened)
    bench.daemon.tick(5.0)
    bench.open_now()
    bench.daemon.tick(6.0)
    assert [one.name for one in bench.opened[edited:]] == ["parts"]


def command(bench, config, write=lambda: None):
    """A commanded edit, and its answer as far as there is one."""
    edit = CommandedEdit(config, "anna", write)
    bench.commanded.put(edit)
    bench.daemon.tick(0.0)
    bench.daemon.tick(0.25)
    return edit.done


def test_a_commanded_edit_is_written_when_its_parts_are_open_and_answered_when_it_is_in_force(bench):
    bench.start()
    written = []
    done = command(
        bench, bench.config(fps=5), lambda: written.append(bench.running.config.cameras["belt"].fps)
    )
    assert done.result(0) == {"cameras.belt.fps": "reopen_camera"}
    assert written == [10]
    assert bench.running.config.cameras["belt"].fps == 5
    assert bench.kept[-1][1:] == ("anna", done.result(0))


def test_a_commanded_edit_whose_model_does_not_open_is_never_written(bench):
    bench.start()
    bench.errors["tools"] = BAD_BUNDLE
    written = []
    assert isinstance(
        command(bench, bench.config(threads=2), lambda: written.append(1)).exception(0), CommandError
    )
    assert (written, bench.running.config, bench.running.config_problem) == ([], bench.config(), None)


def test_a_commanded_edit_that_cannot_be_written_changes_nothing_and_frees_what_it_opened(bench):
    def refuse():
        raise StateError("the disk is full")

    bench.start()
    assert isinstance(command(bench, bench.config(threads=2), refuse).exception(0), CommandError)
    assert bench.running.config == bench.config()
    assert bench.diary == ["stop parts", "stop tools"]


def test_a_commanded_edit_makes_room_for_one_of_the_file(bench):
    bench.start()
    bench.opens_at_once, bench.can_be_stopped = False, True
    done = command(bench, bench.config(threads=2))
    assert not done.done()
    bench.edits.put(bench.config(fps=5))
    bench.daemon.tick(1.0)
    bench.open_now()
    bench.daemon.tick(2.0)
    assert isinstance(done.exception(0), CommandError)
    bench.daemon.tick(3.0)
    bench.open_now()
    bench.daemon.tick(4.0)
    assert bench.running.config == bench.config(fps=5)


def test_a_commanded_edit_waits_for_one_of_the_file_and_one_whose_caller_has_given_up_is_left_out(bench):
    bench.start()
    bench.opens_at_once = False
    bench.edits.put(bench.config(fps=5))
    done = command(bench, bench.config(threads=2))
    assert done.cancel()
    bench.open_now()
    bench.daemon.tick(1.0)
    bench.daemon.tick(2.0)
    assert bench.running.config == bench.config(fps=5)
