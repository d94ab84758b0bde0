from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.config import RolloutConfig
from edge_runtime.deployment.rollout import IllegalStep
from edge_runtime.deployment.rollout_policy.stages import (
    ASKS,
    Command,
    Stage,
    Trial,
    after_command,
    after_opening,
    after_restart,
    after_verdict,
)
from edge_runtime.deployment.rollout_policy.verdict import RolloutVerdict, VerdictKind

PLAN = RolloutConfig()
ASKING = RolloutConfig(promote="ask")
PASS, FAIL, ASK_A_PERSON, RUNNING = (
    RolloutVerdict(kind, (), f"because {kind}")
    for kind in (VerdictKind.PASS, VerdictKind.FAIL, VerdictKind.INCONCLUSIVE, VerdictKind.RUNNING)
)
UNDER_WAY = (Stage.STAGED, Stage.SHADOW, Stage.CANARY, Stage.WATCHED)
MEASURED = UNDER_WAY[1:]
FINAL = (Stage.ACTIVE, Stage.REFUSED)


def plan(shadow: int = 200, canary: int = 200, promote: str = "auto") -> RolloutConfig:
    return RolloutConfig.model_validate(
        {"shadow": {"frames": shadow}, "canary": {"frames": canary}, "promote": promote}
    )


def trial(stage: Stage, paused: str | None = None) -> Trial:
    return Trial(3, stage, since_s=10.0, paused=paused)


def test_a_version_that_passes_goes_through_every_stage():
    one = after_opening(Trial(3, Stage.STAGED, 0.0), PLAN, 1.0)
    seen = [one]
    for now_s in (2.0, 3.0, 4.0):
        one = after_verdict(one, PASS, PLAN, now_s)
        seen.append(one)
    assert [step.stage for step in seen] == [Stage.SHADOW, Stage.CANARY, Stage.WATCHED, Stage.ACTIVE]
    assert [step.since_s for step in seen] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("shadow", "canary", "first", "second"),
    [
        (200, 200, Stage.SHADOW, Stage.CANARY),
        (200, 0, Stage.SHADOW, Stage.WATCHED),
        (0, 200, Stage.CANARY, Stage.WATCHED),
        (0, 0, Stage.WATCHED, Stage.ACTIVE),
    ],
)
def test_stages_without_frames_are_left_out(shadow, canary, first, second):
    config = plan(shadow, canary)
    opened = after_opening(trial(Stage.STAGED), config, 11.0)
    assert (opened.stage, after_verdict(opened, PASS, config, 12.0).stage) == (first, second)


def test_a_version_that_cannot_be_opened_is_refused_with_the_reason():
    refused = after_opening(trial(Stage.STAGED), PLAN, 11.0, problem="no such layer")
    assert refused == Trial(3, Stage.REFUSED, 11.0, refused="no such layer")


@pytest.mark.parametrize("paused", [None, "by command"])
@pytest.mark.parametrize("stage", MEASURED)
def test_failing_refuses_from_every_stage_also_when_paused(stage, paused):
    refused = after_verdict(trial(stage, paused), FAIL, PLAN, 11.0)
    assert refused == Trial(3, Stage.REFUSED, 11.0, refused=FAIL.text)


@pytest.mark.parametrize("stage", MEASURED)
def test_an_inconclusive_verdict_pauses_with_its_reason_and_promotes_nothing(stage):
    paused = after_verdict(trial(stage), ASK_A_PERSON, PLAN, 11.0)
    assert paused == trial(stage, ASK_A_PERSON.text)
    later = RolloutVerdict(VerdictKind.INCONCLUSIVE, (), "another reason")
    for verdict in (PASS, RUNNING, later):
        assert after_verdict(paused, verdict, PLAN, 12.0) == paused


@pytest.mark.parametrize("stage", MEASURED)
def test_a_running_verdict_changes_nothing(stage):
    assert after_verdict(trial(stage), RUNNING, PLAN, 11.0) == trial(stage)


@pytest.mark.parametrize(
    ("config", "last"),
    [(plan(promote="ask"), Stage.CANARY), (plan(canary=0, promote="ask"), Stage.SHADOW)],
)
def test_promote_ask_waits_for_the_command_after_the_last_stage(config, last):
    asking = after_verdict(trial(last), PASS, config, 11.0)
    assert asking == trial(last, ASKS)
    assert after_command(asking, Command.PROMOTE, 12.0) == Trial(3, Stage.WATCHED, 12.0)


def test_with_ask_and_no_stages_it_waits_in_shadow():
    asking = after_opening(trial(Stage.STAGED), plan(0, 0, "ask"), 11.0)
    assert asking == Trial(3, Stage.SHADOW, 11.0, ASKS)


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY])
def test_promote_goes_to_watched_at_once(stage):
    assert after_command(trial(stage, "why"), Command.PROMOTE, 11.0) == Trial(3, Stage.WATCHED, 11.0)


def test_promote_ends_the_watch():
    assert after_command(trial(Stage.WATCHED), Command.PROMOTE, 11.0) == Trial(3, Stage.ACTIVE, 11.0)


@pytest.mark.parametrize("stage", UNDER_WAY)
def test_abort_refuses(stage):
    aborted = after_command(trial(stage), Command.ABORT, 11.0, "by ann")
    assert aborted == Trial(3, Stage.REFUSED, 11.0, refused="by ann")


@pytest.mark.parametrize("stage", UNDER_WAY)
def test_pause_and_resume_begin_the_time_of_the_stage_anew(stage):
    paused = after_command(trial(stage), Command.PAUSE, 11.0, "by ann")
    assert paused == trial(stage, "by ann")
    assert after_command(paused, Command.RESUME, 20.0) == Trial(3, stage, 20.0)


def test_a_version_that_was_paused_before_it_opened_runs_in_shadow_and_stays_paused():
    opened = after_opening(trial(Stage.STAGED, "by ann"), plan(0, 0), 11.0)
    assert opened == Trial(3, Stage.SHADOW, 11.0, "by ann")


@pytest.mark.parametrize("stage", UNDER_WAY)
@pytest.mark.parametrize("paused", [None, "by ann"])
def test_a_restart_begins_again_and_keeps_the_pause(stage, paused):
    assert after_restart(trial(stage, paused), 1, 2.0) == Trial(3, Stage.STAGED, 2.0, paused)


@pytest.mark.parametrize("stage", UNDER_WAY)
def test_a_version_that_ended_the_process_twice_is_refused(stage):
    again = after_restart(trial(stage), 2, 2.0)
    assert (again.stage, again.since_s) == (Stage.REFUSED, 2.0)
    assert again.refused


@pytest.mark.parametrize("stage", FINAL)
def test_a_restart_leaves_final_stages(stage):
    assert after_restart(trial(stage), 5, 2.0) == trial(stage)


STEPS = {
    "open": lambda one, config: after_opening(one, config, 20.0),
    "fail to open": lambda one, config: after_opening(one, config, 20.0, "broken"),
    **{verdict.kind.value: (lambda one, config, v=verdict: after_verdict(one, v, config, 20.0))
       for verdict in (PASS, FAIL, ASK_A_PERSON, RUNNING)},
    **{command.value: (lambda one, config, c=command: after_command(one, c, 20.0)) for command in Command},
    "restart": lambda one, config: after_restart(one, 1, 20.0),
    "second end": lambda one, config: after_restart(one, 2, 20.0),
}  # fmt: skip
IN_A_STAGE = frozenset(
    {"pass", "fail", "inconclusive", "running", "promote", "abort", "pause", "restart", "second end"}
)
LEGAL = {
    Stage.STAGED: {"open", "fail to open", "abort", "pause", "restart", "second end"},
    **dict.fromkeys(MEASURED, IN_A_STAGE),
    **dict.fromkeys(FINAL, frozenset({"restart", "second end"})),
}


@pytest.mark.parametrize("is_paused", [False, True])
@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("name", list(STEPS))
def test_illegal_steps_raise_and_change_nothing(stage, name, is_paused):
    if is_paused and stage in FINAL:
        is_paused = False
    one = trial(stage, "by ann" if is_paused else None)
    legal = set(LEGAL[stage])
    if is_paused:
        legal = legal - {"pause"} | {"resume"}
    if name in legal:
        STEPS[name](one, PLAN)
        return
    before = repr(one)
    with pytest.raises(IllegalStep) as caught:
        STEPS[name](one, PLAN)
    assert caught.value.state is one
    assert repr(one) == before


@dataclass
class Walk:
    """A sequence of steps from one state, checked one by one."""

    one: Trial
    config: RolloutConfig

    def step(self, name: str) -> None:
        before = self.one
        try:
            self.one = STEPS[name](before, self.config)
        except IllegalStep:
            return
        self._check(before, name, self.one)

    def _check(self, before: Trial, name: str, now: Trial) -> None:
        assert before.stage is not Stage.REFUSED or now == before
        assert before.stage is not Stage.ACTIVE or now == before
        assert now.stage is not Stage.REFUSED or (now.refused and now.paused is None)
        assert (now.refused is None) or now.stage is Stage.REFUSED
        assert now.version == before.version
        order = list(Stage)
        is_forward = now.stage is not Stage.REFUSED and order.index(now.stage) > order.index(before.stage)
        if is_forward:
            assert name in ("open", "pass", "promote")
            assert before.paused is None or name in ("promote", "open")
        if now.stage in (Stage.WATCHED, Stage.ACTIVE) and now.stage is not before.stage:
            self._check_promotion(before, name)
        if name in ("inconclusive", "running", "pause", "resume"):
            assert now.stage is before.stage

    def _check_promotion(self, before: Trial, name: str) -> None:
        """Never without a pass or a command; an opening counts only where all stages are turned off."""
        if name == "promote":
            return
        assert before.paused is None
        if before.stage is not Stage.WATCHED:
            assert self.config.promote == "auto"
        is_without_stages = not self.config.shadow.frames and not self.config.canary.frames
        assert name == "pass" or (name == "open" and is_without_stages)


@given(
    start=st.builds(trial, st.sampled_from(UNDER_WAY), st.sampled_from([None, "by ann"])),
    config=st.builds(
        plan, st.sampled_from([0, 200]), st.sampled_from([0, 200]), st.sampled_from(["auto", "ask"])
    ),
    names=st.lists(st.sampled_from(sorted(STEPS)), max_size=25),
)
def test_every_sequence_of_steps_keeps_the_invariants(start, config, names):
    walk = Walk(start, config)
    for name in names:
        walk.step(name)


def test_a_refused_version_stays_refused_for_every_step():
    refused = replace(trial(Stage.REFUSED), refused="slow")
    for name in ("restart", "second end"):
        assert STEPS[name](refused, PLAN) == refused
    for name in STEPS.keys() - {"restart", "second end"}:
        with pytest.raises(IllegalStep):
            STEPS[name](refused, PLAN)
