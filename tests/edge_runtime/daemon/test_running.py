"""running: a command that is refused as busy is never carried out later."""

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
    model = SimpleNamespace(name="parts", controller=controller)
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
