import pytest

from edge_runtime.config import RolloutConfig
from edge_runtime.deployment.rollout_policy.plan import (
    LEAST_FRAMES,
    Stage,
    StageLength,
    length_of,
    plan_of_patch,
    times_of,
)


def plan(**keys: object) -> RolloutConfig:
    return RolloutConfig.model_validate(keys)


def test_the_lengths_of_the_stages_are_those_of_the_configuration():
    config = plan(shadow={"frames": 50, "longest_s": 60}, canary={"frames": 40, "longest_s": 90}, watch_s=30)
    assert length_of(config, Stage.SHADOW) == StageLength(50, 0.0, 60.0)
    assert length_of(config, Stage.CANARY) == StageLength(40, 0.0, 90.0)
    assert length_of(config, Stage.WATCHED) == StageLength(40, 30.0, 120.0)


def test_the_watch_needs_frames_also_where_no_stage_has_any():
    config = plan(shadow={"frames": 0}, canary={"frames": 0})
    assert {length_of(config, stage).frames for stage in (Stage.SHADOW, Stage.CANARY, Stage.WATCHED)} == {
        LEAST_FRAMES
    }


def test_a_patch_is_held_to_the_limits_of_versions_in_the_shadow_alone_and_may_change_answers():
    config = plan(shadow={"frames": 50, "cpu": 0.5}, limits={"latency_ratio": 3}, dry_run=["memory"])
    of_patch = plan_of_patch(config, 20, 90.0)
    assert length_of(of_patch, Stage.SHADOW) == StageLength(20, 0.0, 90.0)
    assert (of_patch.shadow.cpu, of_patch.limits) == (0.5, config.limits)
    assert of_patch.dry_run == ("memory", "agreement", "confidence")
    assert length_of(config, Stage.SHADOW).frames == 50


@pytest.mark.parametrize("stage", [Stage.STAGED, Stage.ACTIVE, Stage.REFUSED])
def test_other_stages_have_no_length(stage):
    with pytest.raises(ValueError):
        length_of(plan(), stage)


def test_the_clock_of_a_plan_by_its_frame_rate():
    times = times_of(plan(), fps=10.0)
    assert times.promotes_after_s == pytest.approx(200 / 10 + 200 / 1)
    assert times.rolls_back_within_s == pytest.approx(200.0)
    assert "4 min" in times.text  # both: 220 s and 200 s, rounded up


def test_a_slow_camera_is_bounded_by_the_longest_time():
    times = times_of(plan(), fps=0.1)
    assert times.promotes_after_s == pytest.approx(200 / 0.1 + 200 / 0.01)
    assert times.rolls_back_within_s == 3600.0


def test_without_a_canary_the_watch_bounds_the_roll_back():
    times = times_of(plan(canary={"frames": 0}), fps=10.0)
    assert (times.promotes_after_s, times.rolls_back_within_s) == (20.0, 20.0)


def test_named_streams_have_a_rate_of_their_cameras():
    config = plan(canary={"streams": ["belt"]})
    assert times_of(config, fps=10.0, canary_fps=5.0).promotes_after_s == pytest.approx(20 + 40)
    assert times_of(config, fps=10.0).promotes_after_s is None


def test_without_a_frame_rate_it_counts_frames():
    times = times_of(plan(), fps=None)
    assert times.promotes_after_s is None
    assert times.rolls_back_within_s == 600 + 3600
    assert "400" in times.text


def test_without_a_stage_the_frames_of_the_active_version_take_their_time():
    config = plan(shadow={"frames": 0}, canary={"frames": 0})
    assert times_of(config, fps=10.0).promotes_after_s == LEAST_FRAMES / 10
    times = times_of(config, fps=None)
    assert times.promotes_after_s is None
    assert str(LEAST_FRAMES) in times.text


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_a_frame_rate_is_above_0(fps):
    with pytest.raises(ValueError):
        times_of(plan(), fps)
