import math
from dataclasses import replace
from itertools import product

import pytest

from edge_runtime.config import RolloutConfig
from edge_runtime.datatypes import Label
from edge_runtime.deployment.rollout_policy.figures import ArmFigures, ArmSummary
from edge_runtime.deployment.rollout_policy.stages import Stage
from edge_runtime.deployment.rollout_policy.verdict import Finding, Limits, RolloutVerdict, VerdictKind, judge
from edge_runtime.inference.postprocess.postprocessor import Answer

PASS, FAIL, INCONCLUSIVE, RUNNING = (
    VerdictKind.PASS,
    VerdictKind.FAIL,
    VerdictKind.INCONCLUSIVE,
    VerdictKind.RUNNING,
)
STAGES = (Stage.SHADOW, Stage.CANARY, Stage.WATCHED)
IN_TIME, TOO_LATE = 1000.0, 1e6
METRICS = {"failures", "failures_in_a_row", "latency", "agreement", "confidence", "answers", "memory"}


def arm(**changes: object) -> ArmSummary:
    """A good arm of 200 frames, which gave four labels."""
    figures = ArmFigures()
    for i in range(200):
        label = Label(0, "abcd"[i % 4], 0.9)
        figures.note_answer(Answer(top=(label, Label(9, "rest", 0.05))), 10.0, stream="s")
        figures.note_agreement(1.0)
    return replace(figures.summary(), **changes)  # type: ignore[arg-type]


GOOD = arm()


def limits(stage: Stage = Stage.SHADOW, **keys: object) -> Limits:
    return Limits.of(RolloutConfig.model_validate(keys), stage)


def judged(
    candidate: ArmSummary = GOOD,
    active: ArmSummary = GOOD,
    stage: Stage = Stage.SHADOW,
    waited_s: float = IN_TIME,
    memory_growth_mib: float | None = 10.0,
    **keys: object,
) -> RolloutVerdict:
    return judge(
        stage,
        candidate,
        active,
        limits(stage, **keys),
        waited_s=waited_s,
        memory_growth_mib=memory_growth_mib,
    )


def kinds(verdict: RolloutVerdict) -> dict[str, VerdictKind]:
    return {finding.name: finding.kind for finding in verdict.findings}


def agreeing(mean: float, frames: int = 200) -> ArmSummary:
    """As yes and no."""
    return arm(agreement=mean, agreements=frames, agreement_squares=mean * frames)


@pytest.mark.parametrize("stage", STAGES)
def test_a_good_candidate_passes_by_every_metric(stage):
    verdict = judged(stage=stage)
    assert verdict.kind is PASS
    assert kinds(verdict) == dict.fromkeys(METRICS, PASS)
    assert not any(finding.is_dry_run for finding in verdict.findings)


BAD = {
    "failures": arm(failures=3, worst_in_a_row=1),
    "failures_in_a_row": arm(failures=3, worst_in_a_row=3),
    "latency": arm(latency_p50_ms=40.0, latency_p99_ms=40.0),
    "agreement": agreeing(0.3),
    "confidence": arm(confidence=0.4, confidence_squares=32.0),
    "answers": arm(labels=(("a", 198), ("b", 2))),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", list(BAD))
def test_each_metric_fails_a_candidate_that_is_good_otherwise(name, stage):
    verdict = judged(BAD[name], stage=stage)
    assert verdict.kind is FAIL
    assert kinds(verdict)[name] is FAIL
    assert verdict.text


@pytest.mark.parametrize("stage", STAGES)
def test_growing_memory_fails_at_once(stage):
    few = arm(frames=5)
    verdict = judged(few, stage=stage, waited_s=1.0, memory_growth_mib=257.0)
    assert (verdict.kind, kinds(verdict)["memory"]) == (FAIL, FAIL)


@pytest.mark.parametrize("name", list(BAD))
def test_a_metric_in_dry_run_is_shown_and_does_not_decide(name):
    dry = ["failures", "failures_in_a_row"] if name == "failures_in_a_row" else [name]
    verdict = judged(BAD[name], dry_run=dry)
    assert verdict.kind is PASS
    assert kinds(verdict)[name] is FAIL
    assert {finding.name for finding in verdict.findings if finding.is_dry_run} == set(dry)


def test_where_no_metric_decides_nothing_passes():
    dry = sorted(METRICS)
    assert judged(dry_run=dry).kind is INCONCLUSIVE
    assert judged(arm(frames=5), dry_run=dry).kind is RUNNING


def test_failures_in_a_row_fail_before_the_frames_are_complete():
    few = arm(frames=4, failures=3, failures_in_a_row=0, worst_in_a_row=3)
    verdict = judged(few, waited_s=0.1, limits={"failures": 0.5})
    assert (verdict.kind, kinds(verdict)["failures"]) == (FAIL, RUNNING)


def test_more_failures_than_the_whole_stage_may_have_fail_before_its_end():
    assert judged(arm(frames=10, failures=2, worst_in_a_row=1)).kind is RUNNING  # 2 of 200 are 1 %
    assert judged(arm(frames=10, failures=3, worst_in_a_row=1)).kind is FAIL


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("waited_s", "kind"), [(1.0, RUNNING), (TOO_LATE, INCONCLUSIVE), (math.nan, INCONCLUSIVE)]
)
def test_too_few_frames_wait_and_then_ask(stage, waited_s, kind):
    assert judged(arm(frames=199), stage=stage, waited_s=waited_s).kind is kind


@pytest.mark.parametrize("name", ["latency", "agreement", "confidence", "answers"])
def test_other_metrics_fail_only_when_the_frames_are_complete(name):
    few = replace(BAD[name], frames=199)
    verdict = judged(few)
    assert (verdict.kind, kinds(verdict)[name]) == (RUNNING, RUNNING)


def test_too_few_frames_of_the_active_version_wait_and_then_ask():
    few = arm(frames=20)
    assert judged(active=few).kind is RUNNING
    late = judged(active=few, waited_s=TOO_LATE)
    assert late.kind is INCONCLUSIVE
    assert "20 of 200" in late.text
    assert {name for name, kind in kinds(late).items() if kind is INCONCLUSIVE} == {
        "latency",
        "confidence",
        "answers",
    }


def test_the_watch_passes_at_its_end_and_fails_before():
    assert judged(stage=Stage.WATCHED, waited_s=599.0).kind is RUNNING
    assert judged(stage=Stage.WATCHED, waited_s=600.0).kind is PASS
    assert judged(BAD["confidence"], stage=Stage.WATCHED, waited_s=5.0).kind is FAIL


@pytest.mark.parametrize(
    ("candidate_ms", "active_ms", "kind"),
    [
        (0.2, 0.1, PASS),
        (15.0, 10.0, PASS),
        (15.1, 10.0, FAIL),
        (7.0, 4.0, PASS),  # 3 ms more
        (9.1, 4.0, FAIL),
        (104.0, 100.0, PASS),
        (4.0, 0.0, PASS),
        (6.0, 0.0, FAIL),
    ],
)
def test_latency_fails_by_ratio_and_by_difference(candidate_ms, active_ms, kind):
    for stage in STAGES:
        which = ["latency_p50_ms"] if stage is Stage.SHADOW else ["latency_p99_ms", "latency_p99_low_ms"]
        candidate, active = (
            arm(latency_p50_ms=0.1, **dict.fromkeys(which, ms))
            if stage is not Stage.SHADOW
            else arm(latency_p50_ms=ms)
            for ms in (candidate_ms, active_ms)
        )
        verdict = judged(candidate, active, stage=stage)
        (finding,) = (finding for finding in verdict.findings if finding.name == "latency")
        assert (finding.kind, verdict.kind) == (kind, kind)
        assert finding.value is not None
        assert math.isfinite(finding.value)


def test_shadow_looks_at_medians_and_the_others_at_the_tail_too():
    slow_tail = arm(latency_p99_low_ms=500.0)
    assert [judged(slow_tail, stage=stage).kind for stage in STAGES] == [PASS, FAIL, FAIL]
    slow = arm(latency_p50_ms=500.0)
    assert [judged(slow, stage=stage).kind for stage in STAGES] == [FAIL, FAIL, FAIL]


def test_few_unsure_answers_are_no_collapse_of_confidence():
    few = arm(frames=200, confidence=0.4, confidences=5, confidence_squares=1.2)
    assert kinds(judged(few))["confidence"] is RUNNING
    assert kinds(judged(few, waited_s=TOO_LATE))["confidence"] is INCONCLUSIVE


def test_one_slow_answer_of_few_is_no_slow_tail():
    figures = ArmFigures()
    for ms in [10.0] * 19 + [100.0]:
        figures.note_answer(Answer(top=(Label(0, "a", 0.9),)), ms)
    summary = figures.summary()
    assert summary.latency_p99_ms == pytest.approx(100.0, rel=0.2)
    assert summary.latency_p99_low_ms == 10.0
    for ms in [100.0] * 5:
        figures.note_answer(Answer(top=(Label(0, "a", 0.9),)), ms)
    assert figures.summary().latency_p99_low_ms == 100.0


@pytest.mark.parametrize(
    ("mean", "in_time", "late"),
    [(0.9, PASS, PASS), (0.82, RUNNING, INCONCLUSIVE), (0.78, RUNNING, INCONCLUSIVE), (0.7, FAIL, FAIL)],
)
def test_agreement_is_judged_by_its_interval(mean, in_time, late):
    assert judged(agreeing(mean)).kind is in_time
    assert judged(agreeing(mean), waited_s=TOO_LATE).kind is late


def finding_of(verdict: RolloutVerdict, name: str) -> Finding:
    (found,) = (one for one in verdict.findings if one.name == name)
    return found


def test_an_undecided_agreement_tells_its_interval_and_the_frames_that_decide():
    found = finding_of(judged(agreeing(0.82)), "agreement")
    assert found.low < 0.8 < found.high
    assert found.frames_needed > 200
    decided = judged(agreeing(0.82, frames=round(1.1 * found.frames_needed)))
    assert (decided.kind, finding_of(decided, "agreement").frames_needed) == (PASS, None)
    assert finding_of(judged(agreeing(0.78)), "agreement").frames_needed > 200
    assert finding_of(judged(agreeing(0.8)), "agreement").frames_needed is None  # it never will


def test_undecided_confidence_and_answers_tell_the_frames_that_decide():
    few = arm(frames=200, confidence=0.4, confidences=5, confidence_squares=1.2)
    assert finding_of(judged(few), "confidence").frames_needed > 200
    collapse, others = arm(labels=(("a", 200),)), arm(labels=(("a", 176), ("b", 24)))
    found = finding_of(judged(collapse, others), "answers")
    assert (found.kind, found.frames_needed > 200) == (RUNNING, True)
    improved = arm(labels=(("a", 188), ("b", 12)))
    assert finding_of(judged(collapse, improved), "answers").frames_needed is None


@pytest.mark.parametrize(("limit", "mean"), [(1.0, 1.0), (0.0, 0.0)])
def test_agreement_can_meet_the_ends_of_its_range(limit, mean):
    verdict = judged(agreeing(mean), limits={"agreement": limit})
    assert kinds(verdict)["agreement"] is PASS


def test_agreement_of_few_frames_does_not_pass():
    assert kinds(judged(agreeing(1.0, frames=29)))["agreement"] is RUNNING


def test_agreement_is_needed_in_shadow_and_judged_elsewhere_where_it_was_measured():
    without = arm(agreement=None, agreements=0, agreement_squares=0.0)
    assert judged(without).kind is INCONCLUSIVE  # more frames would not change that
    assert judged(without, waited_s=TOO_LATE).kind is INCONCLUSIVE
    for stage in (Stage.CANARY, Stage.WATCHED):
        verdict = judged(without, stage=stage)
        assert verdict.kind is PASS
        assert "agreement" not in kinds(verdict)


@pytest.mark.parametrize(
    ("candidate", "active", "kind"),
    [
        ((("a", 196), ("b", 4)), (("a", 60), ("b", 50)), FAIL),
        ((("a", 180), ("b", 20)), (("a", 60), ("b", 50)), PASS),  # other labels are left
        ((("ok", 200),), (("ok", 200),), PASS),  # the scene has no other
        ((("ok", 200),), (("ok", 199), ("bad", 1)), PASS),
        ((("ok", 200),), (("ok", 188), ("bad", 12)), RUNNING),  # rare labels are gone
    ],
)
def test_one_label_nearly_always_is_a_collapse_where_the_active_version_gives_several(
    candidate, active, kind
):
    verdict = judged(arm(labels=candidate), arm(labels=active))
    assert (verdict.kind, kinds(verdict)["answers"]) == (kind, kind)


def test_raw_outputs_are_judged_without_labels_and_confidence():
    raw = arm(labels=(), labelled=0, confidence=None, label_entropy=None)
    verdict = judged(raw, raw)
    assert verdict.kind is PASS
    assert set(kinds(verdict)) == METRICS - {"confidence", "answers"}


def test_a_scene_without_any_box_asks_a_person():
    empty = arm(labels=(("(nothing)", 200),), confidence=None)
    assert judged(empty, empty).kind is RUNNING
    assert judged(empty, empty, waited_s=TOO_LATE).kind is INCONCLUSIVE


def test_labels_of_other_cameras_are_not_compared():
    one_label = arm(labels=(("a", 200),), confidence=0.3, confidence_squares=18.0)
    verdict = judged(one_label, stage=Stage.CANARY, canary={"streams": ["belt"]})
    assert verdict.kind is PASS
    assert judged(one_label, stage=Stage.WATCHED, canary={"streams": ["belt"]}).kind is FAIL


FIELDS = ["latency_p50_ms", "latency_p99_ms", "confidence", "agreement", "agreement_squares"]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("field", "value"), [*product(FIELDS, [math.nan, math.inf]), *product(FIELDS[:4], [None])]
)
def test_what_is_no_number_never_passes(stage, field, value):
    of_tail = {"latency_p99_low_ms": value} if field == "latency_p99_ms" else {}
    broken = arm(**{field: value}, **of_tail)
    is_used = stage is not Stage.SHADOW or field != "latency_p99_ms"
    for candidate, active in ((broken, GOOD), (GOOD, broken)):
        if candidate is GOOD and field.startswith("agreement"):
            continue  # that of the active version is not looked at
        for waited_s, kind in ((IN_TIME, RUNNING), (TOO_LATE, INCONCLUSIVE)):
            assert judged(candidate, active, stage, waited_s).kind is (kind if is_used else PASS)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_memory_that_is_not_known_never_passes(value):
    assert judged(memory_growth_mib=value).kind is RUNNING
    assert judged(memory_growth_mib=value, waited_s=TOO_LATE).kind is INCONCLUSIVE
    assert judged(memory_growth_mib=-20.0).kind is PASS


def test_failing_beats_what_is_not_known_and_what_is_too_late():
    assert judged(BAD["failures_in_a_row"], memory_growth_mib=None, waited_s=TOO_LATE).kind is FAIL


def test_nothing_at_all_never_passes():
    nothing = ArmFigures().summary()
    for stage, waited_s in product(STAGES, (0.0, TOO_LATE)):
        for config in ({}, {"shadow": {"frames": 0}, "canary": {"frames": 0}}):
            verdict = judged(nothing, nothing, stage, waited_s, None, **config)
            assert verdict.kind is (RUNNING if waited_s == 0 else INCONCLUSIVE)


def test_a_candidate_that_always_fails_is_refused_in_every_stage():
    figures = ArmFigures()
    for _ in range(3):
        figures.note_failure("engine_error")
    for stage in STAGES:
        assert judged(figures.summary(), stage=stage, waited_s=0.5).kind is FAIL
