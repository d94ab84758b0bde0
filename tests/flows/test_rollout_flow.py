"""A newer version of a bundle on a whole daemon: tried, promoted, taken back, steered over a broker."""

import json

import pytest

from benchmarks.rollout.faults import Fault
from benchmarks.rollout.versions import put_version as release
from tests.support.command_line import run_command
from tests.support.home_assistant import HomeAssistant, check
from tests.support.mosquitto import Mosquitto
from tests.support.versions import put_version, with_wrong_labels
from tests.support.waiting import until

pytestmark = pytest.mark.integration

QUICK = {
    "shadow": {"frames": 10, "cpu": 1},
    "canary": {"frames": 5, "share": 0.3},
    "watch_s": 1.0,
    "limits": {"latency_ratio": 1000},
}


@pytest.fixture
def root(box):
    root = box.folder / "bundles" / "parts"
    root.mkdir(parents=True)
    put_version(root, 1)
    return root


def configure(box, root, rollout, **keys):
    # No frame of a busy machine is too old, or one too many: a gap would be the rollout's.
    model = {"bundle": str(root), "rollout": rollout, "queue_frames": 256, "max_age_ms": 60_000}
    camera = {"path": "demo:conveyor", "model": "parts", "fps": 10}
    box.write(models={"parts": model}, cameras={"belt": camera}, **keys)


def rollout_of(box):
    status = box.status()
    return status["models"]["parts"]["rollout"] if status else {}


def started(box):
    box.start()
    assert until(lambda: box.is_ready() and box.status()["models"]["parts"]["batches"] > 0), box.log()


def test_a_version_installed_while_it_runs_takes_over_without_a_gap(box, root):
    configure(box, root, QUICK)
    started(box)
    put_version(root, 2)
    assert until(lambda: rollout_of(box).get("active") == 2, 60), (rollout_of(box), box.log())
    assert until(
        lambda: [one for one in box.results() if one["generation"] == "parts/2" and "arm" not in one]
    )
    results = box.results()
    seqs = [one["seq"] for one in results]
    status = box.status()
    assert seqs == sorted(set(seqs))
    # On a busy machine the camera skips pictures, and counts them; behind it none is lost.
    assert seqs[-1] + 1 - len(seqs) <= status["cameras"]["belt"]["dropped"]
    stream = status["models"]["parts"]["streams"]["belt"]
    assert stream["frames"] - stream["results"] <= 2  # under way
    assert any(one.get("arm") == "candidate" for one in results)
    stages = [event["data"]["stage"] for event in box.events() if event["event"] == "rollout"]
    assert sorted(stages) == ["active", "canary", "shadow", "staged", "watched"]
    box.process.kill()
    box.wait()
    started(box)
    assert rollout_of(box)["active"] == 2
    assert rollout_of(box)["previous"] == 1


def test_wrong_labels_are_found_in_the_shadow_and_never_published(box, root):
    configure(box, root, QUICK)
    started(box)
    put_version(root, 2, with_wrong_labels)
    assert until(lambda: "2" in rollout_of(box).get("refused", {}), 60), (rollout_of(box), box.log())
    assert {one["generation"] for one in box.results()} == {"parts/1"}
    assert "agreement" in rollout_of(box)["refused"]["2"]


def test_versions_that_pass_their_self_test_and_break_on_live_frames_are_refused_one_by_one(box, root):
    """As ``python -m benchmarks run rollout`` does at length, and with a detector too."""
    configure(box, root, {**QUICK, "limits": {"latency_ratio": 4, "memory_mib": 192}})
    started(box)
    seen = {}
    faults = [Fault.NAN, Fault.PREPROCESSING, Fault.LEAK]
    for version, fault in enumerate(faults, start=2):
        release(root / "1", root, version, fault)
        assert until(lambda version=version: str(version) in rollout_of(box).get("refused", {}), 60), (
            fault,
            rollout_of(box),
        )
        last = next(event["data"] for event in box.events() if event["event"] == "rollout")
        seen[fault] = (
            last["from"],
            {name for name, one in last["findings"].items() if one["verdict"] == "fail"},
        )
    assert {stage for stage, _ in seen.values()} == {"shadow"}
    assert "failures" in seen[Fault.NAN][1]
    assert "agreement" in seen[Fault.PREPROCESSING][1]
    assert "memory" in seen[Fault.LEAK][1]
    assert {one["generation"] for one in box.results()} == {"parts/1"}
    assert box.status()["models"]["parts"]["lost_to_errors"] == 0


def test_a_process_that_dies_twice_with_a_version_on_board_refuses_it(box, root):
    configure(box, root, {**QUICK, "shadow": {"frames": 1000, "cpu": 1}})
    put_version(root, 2)
    versions = box.state / "models" / "parts" / "versions.json"
    versions.parent.mkdir(parents=True)
    versions.write_text(json.dumps({"active": 1}))
    for _ in range(2):
        started(box)
        assert until(lambda: rollout_of(box).get("stage") == "shadow", 60), box.log()
        box.process.kill()
        box.wait()
    started(box)
    assert until(lambda: "2" in rollout_of(box).get("refused", {}), 60), box.log()
    assert rollout_of(box)["active"] == 1


def update_of(home):
    """What Home Assistant knows of the versions."""
    state = json.loads(home.values()["model_parts_update"])
    check(state, "update_state")
    return state


def test_people_steer_it_over_the_broker(box, root, tmp_path):
    with Mosquitto(tmp_path) as broker:
        configure(
            box,
            root,
            {**QUICK, "promote": "ask", "watch_s": 600.0},  # longer than a command takes on any machine
            mqtt={
                "host": broker.host,
                "port": broker.port,
                "commands": True,
                "home_assistant": {"figures_every_s": 1},
            },
        )
        home = HomeAssistant(broker.host, broker.port, "homeassistant/device/edge/box/config")
        started(box)
        put_version(root, 2)
        assert until(lambda: rollout_of(box).get("paused"), 60), (rollout_of(box), box.log())
        waits = {"installed_version": "1", "latest_version": "2", "in_progress": False}
        assert until(lambda: update_of(home) == {**waits, "update_percentage": None}), update_of(home)

        def rollout(*arguments):
            code, written = run_command("rollout", *arguments, "--json")
            return code, json.loads(written)

        code, answer = rollout("promote", str(box.file))
        assert code == 0, answer
        assert answer["data"]["stage"] == "watched"
        assert until(lambda: update_of(home)["in_progress"])
        home.close()
        code, answer = rollout("abort", str(box.file))
        assert (code, list(answer["data"]["refused"])) == (0, ["2"])
        code, answer = rollout("abort", str(box.file))
        assert (code, answer["status"]) == (65, "error")
        code, answer = rollout("history", str(box.file))
        assert [step["stage"] for step in answer["data"]["steps"]][-1] == "refused"
