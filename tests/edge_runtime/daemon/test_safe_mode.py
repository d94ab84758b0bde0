"""A daemon without a configuration that it could use: it lives, says why, and goes over to work when it is mended."""

import time

import pytest

from edge_runtime.daemon.edit_under_way import CommandedEdit
from edge_runtime.daemon.health import Weight, judge
from edge_runtime.daemon.listeners import AGAIN_S
from edge_runtime.errors import CommandError, ConfigError, Problem, StateError
from edge_runtime.messaging.events import ConfigApplied, ConfigRefused
from edge_runtime.serving.certificate import CertificateUnusable
from edge_runtime.serving.listener import PortUnavailable
from edge_runtime.system.systemd import SystemdNotify
from tests.edge_runtime.daemon.test_daemon import BAD_BUNDLE, DaemonBench

REFUSED = ConfigError(
    "box.yaml", (Problem("log", 3, "7", "a section"), Problem("drift", 4, "8", "a section"))
)


def ask_for(bench, edit, *, is_commanded):
    """Hand the loop the configuration of an edit, by command or as written by hand."""
    if is_commanded:
        bench.commanded.put(edit)
    else:
        bench.edits.put(edit.config)
    bench.daemon.tick(0.0)


def empty(config):
    return config.model_copy(update={"models": {}, "cameras": {}})


@pytest.fixture
def bench(tmp_path):
    """In safe mode."""
    bench = DaemonBench(tmp_path)
    bench.running.config = empty(bench.config())
    bench.edits.put(REFUSED)
    return bench


def test_it_lives_is_not_ready_says_why_and_keeps_nothing(bench):
    bench.start()
    assert bench.running.config_problem == str(REFUSED)
    verdict = judge(bench.reporter.findings())
    assert (verdict.live, verdict.ready) == (True, False)
    assert verdict.reasons[0] == "configuration: safe mode: line 3: log: 7; expected a section (and 1 more)"
    assert bench.reporter.status().safe_mode
    assert bench.delivery.events()[-1].fact == ConfigRefused(
        tuple(map(str, REFUSED.problems)), safe_mode=True
    )
    assert (bench.kept, bench.looks_again) == ([], [1])


def test_a_mended_file_opens_models_and_cameras(bench):
    bench.start()
    assert isinstance(bench.edit(bench.config()), ConfigApplied)
    opened = [step for step in bench.diary if not step.startswith("close")]
    assert opened == ["start parts", "start tools", "open belt", "open bench"]
    assert (bench.running.config, bench.running.config_problem) == (bench.config(), None)
    assert bench.kept[-1][0] == bench.config()
    assert not bench.reporter.status().safe_mode


def test_what_still_cannot_be_opened_is_said_once_and_tried_again(bench):
    bench.start()
    bench.errors["tools"] = BAD_BUNDLE
    for _ in range(3):
        bench.edits.put(bench.config())
        bench.daemon.tick(0.0)
        bench.daemon.tick(0.25)
    assert len(bench.looks_again) == 4
    refusals = [event.fact.problems for event in bench.delivery.events()]
    assert refusals == [tuple(map(str, REFUSED.problems)), (str(BAD_BUNDLE),)]
    assert bench.running.config.is_safe_mode
    assert judge(bench.reporter.findings()).reasons[0] == f"configuration: safe mode: {BAD_BUNDLE}"
    del bench.errors["tools"]
    assert isinstance(bench.edit(bench.config()), ConfigApplied)


def test_a_command_that_needs_a_model_is_refused(bench):
    bench.start()
    with pytest.raises(CommandError):
        bench.running.steer_rollout(None, "status")


def test_rights_that_the_file_takes_away_count_and_leave_it_in_safe_mode(bench):
    bench.start()
    less = bench.config("commands: {unsigned: viewer}\n")
    bench.edits.put(empty(less))
    bench.daemon.tick(0.0)
    bench.daemon.tick(0.25)
    assert bench.running.config.commands == less.commands
    assert (bench.running.config.is_safe_mode, bench.running.config_problem) == (True, str(REFUSED))
    assert bench.kept == []


def test_an_edit_that_is_taken_back_leads_into_it_again(bench):
    bench.start()
    safe = bench.running.config
    bench.edit(bench.config())
    bench.diary.clear()
    kept = len(bench.kept)
    edit = CommandedEdit(safe, "undone", lambda: None)
    bench.commanded.put(edit)
    bench.daemon.tick(0.0)
    bench.daemon.tick(0.25)
    assert edit.done.result(0)
    assert bench.diary == ["close belt", "close bench", "stop parts", "stop tools"]
    assert (bench.running.config, bench.running.models) == (safe, {})
    assert bench.running.config_problem is not None
    assert len(bench.kept) == kept


@pytest.mark.parametrize("is_managed", [True, False])
@pytest.mark.parametrize("is_commanded", [True, False])
def test_where_safe_mode_needed_another_state_directory_the_next_start_counts(
    bench, tmp_path, is_managed, is_commanded
):
    if not is_managed:
        bench.errors["restart"] = CommandError("nobody starts it again")
    bench.start()
    written = []
    edit = CommandedEdit(bench.config(state=tmp_path / "other"), "anna", lambda: written.append(1))
    ask_for(bench, edit, is_commanded=is_commanded)
    bench.daemon.tick(0.25)
    assert bench.opened == []
    assert (bench.restarts, bool(written)) == ([1] if is_managed else [], is_commanded)
    assert bench.running.config.is_safe_mode
    assert not is_commanded or edit.done.result(0) == {
        **{f"models.{name}": "rebuild_model" for name in ("parts", "tools")},
        **{f"cameras.{name}": "reopen_camera" for name in ("belt", "bench")},
        "state_dir": "restart",
    }
    assert is_managed or "state_dir" in bench.running.config_problem


@pytest.mark.parametrize("is_commanded", [True, False])
def test_it_does_not_end_for_a_start_that_would_fail_at_once(bench, tmp_path, is_commanded):
    bench.errors["new start"] = StateError("no such folder")
    bench.start()
    written = []
    edit = CommandedEdit(bench.config(state=tmp_path / "other"), "anna", lambda: written.append(1))
    ask_for(bench, edit, is_commanded=is_commanded)
    assert (written, bench.restarts, bench.running.config.is_safe_mode) == ([], [], True)
    assert isinstance(edit.done.exception(0), CommandError) if is_commanded else bench.running.config_problem


def test_a_mended_file_that_cannot_be_written_changes_nothing(bench, tmp_path):
    def refuse():
        raise CommandError("another edit came first")

    bench.start()
    edit = CommandedEdit(bench.config(state=tmp_path / "other"), "anna", refuse)
    bench.commanded.put(edit)
    bench.daemon.tick(0.0)
    assert isinstance(edit.done.exception(0), CommandError)
    assert bench.restarts == []


def test_without_its_port_it_lives_all_the_same_and_goes_over_to_work(bench):
    bench.errors["http"] = PortUnavailable("127.0.0.1", 8080, "in use")
    bench.start()
    assert isinstance(bench.edit(bench.config()), ConfigApplied)
    assert bench.restarts == []


def test_at_a_terminal_a_start_with_models_needs_its_port(tmp_path):
    bench = DaemonBench(tmp_path)
    bench.errors["http"] = PortUnavailable("127.0.0.1", 8080, "in use")
    with pytest.raises(PortUnavailable):
        bench.daemon.run()


@pytest.mark.parametrize(
    "error", [PortUnavailable("127.0.0.1", 8080, "in use"), CertificateUnusable("the key is another's")]
)
def test_as_a_service_a_server_that_cannot_listen_stops_no_inference_and_tries_again(tmp_path, error):
    bench = DaemonBench(tmp_path)
    bench.daemon.notify = SystemdNotify({"NOTIFY_SOCKET": "@edge-runtime-test-absent"})
    bench.errors["http"] = error
    bench.start()
    now_s = time.monotonic()
    bench.daemon.tick(now_s)
    assert [one.weight for one in bench.reporter.findings() if one.part == "http"] == [Weight.NOTE]
    del bench.errors["http"]
    bench.daemon.tick(now_s + AGAIN_S / 2)
    assert list(bench.running.listen_problems) == ["http"]
    bench.daemon.tick(now_s + 2 * AGAIN_S)
    assert bench.running.listen_problems == {}
