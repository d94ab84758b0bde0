"""``edge-runtime rollout``: what goes to the box, and its answers as text for people."""

import orjson
import pytest
from click.testing import CliRunner

from edge_runtime.cli import send
from edge_runtime.cli.main import cli


@pytest.fixture
def box(tmp_path, monkeypatch):
    """Runs ``rollout`` against a box that gives one answer; returns what was printed and what was sent."""
    content = {"device": "box", "mqtt": {"host": "127.0.0.1"}}
    (tmp_path / "box.yaml").write_bytes(orjson.dumps(content))
    sent = []

    def run(*words, data):
        def answer(_to, verb, arguments, _timeout_s):
            sent.append({"verb": verb, **arguments})
            return {"status": "ok", "data": data}

        monkeypatch.setattr(send, "send_command", answer)
        action, *others = words
        done = CliRunner().invoke(cli, ["rollout", action, str(tmp_path / "box.yaml"), *others])
        assert done.exit_code == 0, done.output
        return done.output.splitlines(), sent[-1]

    return run


def status(**facts):
    """A status in which no version is on its way, but for ``facts``."""
    nothing = dict.fromkeys(("previous", "candidate", "stage", "stage_s", "paused", "verdict", "problem"))
    return {"active": 1, **nothing, "findings": [], "figures": {}, "refused": {}, **facts}


def test_the_version_to_try_again_comes_after_the_configuration(box):
    _, sent = box("retry", "3", data=status())
    assert sent == {"verb": "rollout", "action": "retry", "version": 3}
