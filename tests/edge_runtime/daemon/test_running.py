"""running: a command that is refused as busy is never carried out later."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from edge_runtime.config import parse_config
from edge_runtime.daemon import running as running_module
from edge_runtime.daemon.running import Running
from edge_runtime.errors import CommandError
from edge_runtime.recalibration.inbox import RequestInbox
from edge_runtime.recalibration.task import TaskRequest

YAML = """\
device: box
models: {parts: {bundle: demo:efficientnet-lite0}}
cameras: {belt: {path: a.mp4, model: parts}}
"""
ROLLBACK = TaskRequest("rollback")


def make(controller):
    bundle = SimpleNamespace(manifest=SimpleNamespace(preprocess=None))
    model = SimpleNamespace(name="parts", controller=controller, bundle=bundle)
    return Running(parse_config(YAML, "test", {}), models={"parts": model})


def test_a_command_that_was_refused_as_busy_is_not_carried_out_later(monkeypatch):
    monkeypatch.setattr(running_module, "ANSWER_TIMEOUT_S", 0.01)
    inbox, acted = RequestInbox(), []
    running = make(SimpleNamespace(request=inbox.put))
    for _ in range(2):
        with pytest.raises(CommandError, match="nothing was done"):
            running.request(ROLLBACK, None)
    inbox.answer_all(lambda request: acted.append(request.verb) or {})
    assert acted == []


def test_a_command_that_has_begun_is_not_called_busy(monkeypatch):
    monkeypatch.setattr(running_module, "ANSWER_TIMEOUT_S", 0.01)
    inbox = RequestInbox()

    def put_and_begin(request):
        answer = inbox.put(request)
        assert answer.set_running_or_notify_cancel()
        return answer

    with pytest.raises(CommandError, match="it is being done"):
        make(SimpleNamespace(request=put_and_begin)).request(ROLLBACK, None)


def test_the_answer_of_the_loop_comes_back():
    def put_and_answer(request):
        inbox = RequestInbox()
        answer = inbox.put(request)
        inbox.answer_all(lambda asked: {"verb": asked.verb})
        return answer

    assert make(SimpleNamespace(request=put_and_answer)).request(ROLLBACK, "parts") == {"verb": "rollback"}


class Caller:
    """Of a command that is answered later."""

    def __init__(self, *, is_ending=False):
        self.is_ending, self.told = is_ending, []

    def report(self, data):
        self.told.append(data)


def begun(end):
    """A controller that has begun the task of a request, which then ends so; None: it goes on."""

    def request(asked):
        answer = Future()
        answer.set_result({"begun": asked.verb})
        if end is not None:
            asked.follower.give_up(end)
        return answer

    return SimpleNamespace(request=request, describe_progress=lambda follower: {"phase": "collecting"})


RECALIBRATE = TaskRequest("recalibrate")


def test_the_end_of_a_task_comes_with_the_answer_to_its_command():
    answer = make(begun("replaced")).follow(RECALIBRATE, None, 60.0, Caller())
    assert answer == {"begun": "recalibrate", "outcome": "given_up", "reasons": ["replaced"]}


def test_a_task_that_takes_longer_than_the_caller_waits_goes_on():
    answer = make(begun(None)).follow(RECALIBRATE, None, 0.01, Caller())
    assert answer == {"begun": "recalibrate", "outcome": "goes_on"}


def test_the_end_of_the_daemon_ends_the_wait():
    with pytest.raises(CommandError, match="daemon ends"):
        make(begun(None)).follow(RECALIBRATE, None, 60.0, Caller(is_ending=True))


def test_a_task_that_cannot_begin_is_refused_as_without_waiting():
    with pytest.raises(CommandError, match="turned off"):
        make(None).follow(RECALIBRATE, None, 60.0, Caller())
    with pytest.raises(CommandError, match="no stream"):
        make(begun(None)).follow(TaskRequest("recalibrate", stream="other"), None, 60.0, Caller())


@pytest.mark.parametrize("more", [0, 1, 7])
def test_of_several_problems_the_first_is_said_and_the_others_are_counted(more):
    running = make(None)
    running.set_config_problem("all of them", "line 7", *["line 8"] * more)
    assert running.config_problem == "all of them"
    assert running.first_problem is not None
    assert running.first_problem.startswith("line 7")
    assert (str(more) in running.first_problem.removeprefix("line 7")) is (more > 0)


def test_a_problem_without_parts_is_said_as_it_is():
    running = make(None)
    running.set_config_problem("it cannot be read")
    assert running.first_problem == "it cannot be read"
    running.set_config_problem(None)
    assert running.first_problem is None
