"""kill -9 before every single change of the disk: afterwards exactly one whole generation is active.

Each case runs one way of a version or of a patch in a child, and looks at what is left as a start would.
"""

import os
from dataclasses import replace

import pytest

from edge_runtime.datatypes import Generation
from edge_runtime.deployment.rollout import Step
from edge_runtime.deployment.start_record import StartRecord
from edge_runtime.deployment.version_pointers import VersionPointers
from edge_runtime.deployment.versions import list_candidates
from edge_runtime.errors import EngineError
from tests.support.controller_bench import ControllerBench
from tests.support.deployment_bench import BASE, DeploymentBench
from tests.support.kill_steps import kill_at_every_step
from tests.support.rollout_bench import RolloutBench

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    """The system has what a process wrote that was killed; only a power cut takes that away."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


QUICK = {"shadow": {"frames": 0}, "canary": {"frames": 3, "share": 0.5}, "watch_s": 1.0}
"""Without a shadow, whose thread no forked child has."""


def fails(batch):
    raise EngineError("it broke")


class Box:
    """A state directory and a folder of bundles with version 1."""

    def __init__(self, folder):
        self.folder, self.root, self.state = folder, folder / "bundles", folder / "state"
        (self.root / "1").mkdir(parents=True)
        self.state.mkdir()

    def roll_out(self, ends):
        """Version 1 answers and version 2 comes; ``ends`` says how it goes on from the canary."""
        bench = RolloutBench(self.state, **QUICK)
        self.started_with(1)
        bench.rollout.begin()
        (self.root / "2").mkdir()
        bench.begin()
        ends(bench)
        bench.rollout.stop(1.0)

    def started_with(self, version):
        with StartRecord(self.state / "versions.json", "parts", is_kept=True, may_write=True).count(version):
            pass

    def start(self):
        """As a daemon starts: the version that answers, and its rollout."""
        path = self.state / "versions.json"
        record = StartRecord(path, "parts", is_kept=True, may_write=True)
        choice = list_candidates(self.root, "latest", record.order)
        version = int(choice[0].name)
        self.started_with(version)
        bench = RolloutBench(self.state, **QUICK)
        bench.rollout = bench.make(version)
        bench.rollout.begin()
        return version, bench.pointers


def promote(bench):
    bench.play_until("watched")
    bench.play(5)
    bench.tick(later_s=2.0)
    assert bench.stage == "active"


def hand_over(bench):
    """As the main thread does: the version that passed is opened, then takes over."""
    promote(bench)
    with StartRecord(bench.folder / "versions.json", "parts", is_kept=True, may_write=True).count(2):
        pass
    bench.rollout.stop(1.0)
    bench.rollout = bench.make(2)
    bench.rollout.begin()


def hand_over_fails(bench):
    promote(bench)
    bench.rollout.hand_over_failed("its files are gone")


def roll_back_and_retry(bench):
    bench.play_until("watched")
    bench.engines[2].answer = fails
    bench.play_until(None)
    bench.rollout.retry(2)


@pytest.mark.parametrize(
    ("ends", "answering"),
    [(hand_over, [1, 2]), (hand_over_fails, [1, 2, 1]), (roll_back_and_retry, [1])],
)
def test_one_version_is_active_wherever_a_rollout_is_killed(tmp_path, ends, answering):
    box, seen = Box(tmp_path / "box"), list[int]()
    for step in kill_at_every_step(lambda: box.roll_out(ends), box.folder):
        known = VersionPointers.load(box.state / "versions.json")
        version, pointers = box.start()
        assert version == (known.active or 1), f"step {step}"
        assert pointers.active == version
        assert pointers.candidate in (None, 2)
        assert set(pointers.refused) <= {2}
        if seen[-1:] != [version]:
            seen.append(version)
    assert seen == answering


def activate(bench):
    bench.activate(b"one")


def replace_patch(bench):
    bench.activate(b"one")
    bench.activate(b"two")


def take_back(bench):
    replace_patch(bench)
    bench.deployment.take_back(Step.ROLL_BACK)


def take_back_to_base(bench):
    bench.activate(b"one")
    bench.deployment.take_back(Step.TO_BASE)


ONE, TWO = replace(BASE, patch="p1"), replace(BASE, patch="p2")


@pytest.mark.parametrize(
    ("act", "answering"),
    [
        (activate, [BASE, ONE]),
        (replace_patch, [BASE, ONE, TWO]),
        (take_back, [BASE, ONE, TWO, ONE]),
        (take_back_to_base, [BASE, ONE, BASE]),
    ],
)
def test_one_patch_or_none_is_active_wherever_its_activation_is_killed(tmp_path, act, answering):
    state, seen = tmp_path / "state", []
    state.mkdir()

    def run():
        bench = DeploymentBench(state)
        act(bench)
        bench.model_state.note_last_version(1)  # so that what the last step left is seen as well

    for _ in kill_at_every_step(run, state):
        look_at_patch(DeploymentBench(state).model_state, seen)
    assert seen == answering


def look_at_patch(model_state, seen):
    """The generation that a start restores is whole."""
    active = model_state.load_rollout("parts/1").active
    if active.patch is not None:
        assert model_state.read_patched(active.patch).model.data
    if seen[-1:] != [active]:
        seen.append(active)


def test_the_adoption_of_a_recalibration_leaves_the_base_or_the_patch(tmp_path):
    state, seen = tmp_path / "state", []

    def run():
        ControllerBench(state).accept_one()

    state.mkdir()
    for _ in kill_at_every_step(run, state):
        bench = ControllerBench(state)
        look_at_patch(bench.model_state, seen)
        bench.model_state.clear_jobs()
        bench.accept_one()  # the next recalibration goes as any
        assert bench.deployment.state.active.patch is not None
    assert seen == [BASE, Generation("parts/1", "p1")]
