"""What the fleet's rollout reads out of a box's answer."""

from dataclasses import asdict, replace

import pytest

from edge_runtime.deployment.rollout_status import RolloutStatus
from examples.fleet_rollout import find_verdict

IDLE = RolloutStatus(
    active=3, previous=2, candidate=None, stage=None, stage_s=None, paused=None, verdict=None, findings=(),
    figures={}, comparisons=(), refused={}, waiting=(), problem=None,
)  # fmt: skip
TRIED = replace(IDLE, candidate=4, stage="watched", stage_s=3.0)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (IDLE, None),
        (TRIED, None),
        (replace(IDLE, active=4, previous=3), "active"),
        (replace(IDLE, refused={"4": "agreement 0.1"}), "refused: agreement 0.1"),
        (replace(IDLE, refused={"14": "slow"}), None),
        (replace(TRIED, paused="promote: ask"), "waits for a person: promote: ask"),
    ],
)
def test_a_verdict_is_the_end_of_a_trial_or_a_question(status, verdict):
    assert find_verdict(asdict(status), 4) == verdict
