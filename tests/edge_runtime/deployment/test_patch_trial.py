"""A patch in the shadow while a newer version of its model begins, on one pipeline with real rollouts of both."""

import pytest

from edge_runtime.config import RolloutConfig
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.patch_trial import PatchTrial
from edge_runtime.deployment.rollout_policy.plan import plan_of_patch
from edge_runtime.deployment.rollout_policy.stages import Command
from edge_runtime.deployment.rollout_policy.verdict import VerdictKind
from edge_runtime.errors import StateError
from edge_runtime.system.supervised_thread import Crashes
from tests.support.deployment_bench import DeploymentBench
from tests.support.rollout_bench import RolloutBench
from tests.support.waiting import until

PLAN = plan_of_patch(RolloutConfig.model_validate({"shadow": {"cpu": 200}}), 5, 600.0)


@pytest.fixture
def versions(tmp_path):
    return RolloutBench(tmp_path / "versions")


@pytest.fixture
def patches(tmp_path):
    return DeploymentBench(tmp_path / "patches")


@pytest.fixture
def trial(versions, patches):
    trial = PatchTrial(
        "parts", versions.pipeline, patches.deployment, patches.model_state.folder, Crashes(),
        find_version=lambda: versions.rollout.on_its_way,
    )  # fmt: skip
    trial.reconfigure(PLAN, keeps_pictures=False)
    trial.begin(patches.adopt())
    trial.advance()
    yield trial
    trial.close()
    versions.rollout.stop(1.0)


def test_a_version_that_begins_ends_the_shadow_of_a_patch_which_begins_anew_after_it(
    trial, versions, patches
):
    assert trial.is_running
    versions.begin(2)
    assert (versions.stage, versions.rollout.on_its_way) == ("shadow", "parts/2")
    assert trial.advance() is None
    assert (trial.is_running, trial.waits_for, patches.built[0].is_closed) == (False, "parts/2", True)
    versions.play(3)
    assert versions.frames_of_candidate() == 3
    versions.rollout.command(Command.ABORT)
    assert versions.rollout.on_its_way is None
    trial.advance()
    assert (trial.is_running, trial.waits_for, len(patches.built)) == (True, None, 2)
    for frames in range(1, 6):
        versions.play(1)
        assert until(lambda frames=frames: trial.status().frames == frames)
    verdict = trial.advance()
    assert verdict is not None
    assert verdict.kind is VerdictKind.PASS
    opened = trial.take_out()
    assert (opened.generation, opened.engine) == (Generation("parts/1", "p1"), patches.built[1])
    patches.deployment.put_in(opened)
    assert patches.slot.engine is patches.built[1]


def test_while_a_version_is_being_opened_a_patch_waits(trial, versions, patches):
    seen = []
    opens = versions.open_candidate

    def look(version, should_stop):
        trial.advance()
        seen.append((trial.is_running, trial.waits_for))
        return opens(version, should_stop)

    versions.open_candidate = look
    versions.rollout = versions.make()
    versions.begin(2)
    assert seen == [(False, "parts/2")]
    assert patches.built[0].is_closed


def test_a_trial_that_was_closed_says_so_instead_of_that_it_was_not_opened_yet(trial, patches):
    trial.close()
    with pytest.raises(StateError):
        trial.take_out()
    assert patches.built[0].is_closed
