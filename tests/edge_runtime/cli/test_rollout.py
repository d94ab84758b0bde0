"""``edge-runtime rollout``: what goes to the box, and its answers as text for people."""

import orjson
import pytest
from click.testing import CliRunner

from edge_runtime.cli import remote
from edge_runtime.cli.main import cli


@pytest.fixture
def box(tmp_path, monkeypatch):
    """Runs ``rollout`` against a box that gives one answer; returns what was printed and what was sent."""
    content = {"device": "box", "mqtt": {"host": "127.0.0.1"}}
    (tmp_path / "box.yaml").write_bytes(orjson.dumps(content))
    sent = []

    def run(*words, data):
        def answer(_to, verb, arguments, _timeout_s, *, key):
            assert key is None
            sent.append({"verb": verb, **arguments})
            return {"status": "ok", "data": data}

        monkeypatch.setattr(remote, "send_command", answer)
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


RUNNING = {"kind": "running", "text": "agreement 1.000 (54 frames)", "is_dry_run": False}
TRIAL = {
    "candidate": 3,
    "stage": "shadow",
    "stage_s": 5.2,
    "findings": [RUNNING],
    "verdict": "54 of 200 frames",
}


def test_shows_how_many_frames_a_stage_still_needs(box):
    lines, _ = box("status", data=status(**TRIAL))
    assert "version 1" in lines[0]
    assert "version 3" in lines[1]
    assert "54 of 200 frames" in lines[1]


def test_says_once_what_a_stage_with_all_its_frames_waits_for(box):
    lines, _ = box("status", data=status(**TRIAL | {"verdict": RUNNING["text"]}))
    assert sum(RUNNING["text"] in line for line in lines) == 1


def test_shows_how_both_versions_differ(box):
    compared = [
        {"is_paired": False, "text": f"share of {label!r} +3.0 points (-0.4 to +6.4)"} for label in "ab"
    ]
    lines, _ = box("status", data=status(**TRIAL, comparisons=compared))
    assert [line.strip() for line in lines[-2:]] == [one["text"] for one in compared]
    assert "version 3 minus version 1" in lines[-3]


@pytest.mark.parametrize("stage", ["watched", "active"])
def test_a_candidate_that_answers_everything_is_the_version_that_answers(box, stage):
    lines, _ = box("status", data=status(**TRIAL | {"stage": stage, "previous": 1}))
    assert lines[0].startswith("version 3 ")
    assert lines[0].endswith("version 1")


def test_a_pause_names_its_reason(box):
    lines, _ = box("pause", data=status(**TRIAL | {"paused": "by command"}))
    assert any("paused" in line and "by command" in line for line in lines)


def test_a_pause_that_ends_by_itself_says_when(box):
    at = "2026-11-24T03:00:00Z"
    lines, _ = box("status", data=status(**TRIAL | {"paused": "by command", "promotes_at": at}))
    assert any(at in line for line in lines)


def test_a_step_that_changes_no_stage_has_no_arrow(box):
    step = {
        "at_wall_s": 0.0,
        "bundle": "parts/3",
        "before": "shadow",
        "stage": "shadow",
        "reason": "by command",
    }
    lines, _ = box("history", data={"steps": [step, step | {"stage": "canary"}]})
    assert ["->" in line for line in lines] == [False, True]
