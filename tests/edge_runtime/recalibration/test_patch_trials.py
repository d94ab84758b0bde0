"""A patch in the shadow of what answers: it becomes active, is refused, or waits for a person."""

import shutil
import threading

import numpy as np
import pytest

from edge_runtime.config import ReferenceConfig
from edge_runtime.datatypes import Generation
from edge_runtime.deployment import deployment, trial_run
from edge_runtime.deployment.reports import Reports
from edge_runtime.errors import CommandError, EngineError
from edge_runtime.messaging.events import (
    PatchProposed,
    PatchTried,
    ProposalEnded,
    Recalibrated,
    RecalibrationRefused,
    TaskFailed,
)
from tests.support.controller_bench import ACCEPTED, BASE, REFUSED, ControllerBench
from tests.support.fake_engine import FakeEngine, channel_means
from tests.support.waiting import until

PATCHED = Generation("parts/1", "p1")
FRAMES = 20


@pytest.fixture(autouse=True)
def no_wait_between_batches(monkeypatch):
    """Nothing runs meanwhile that a swap could disturb."""
    monkeypatch.setattr(deployment, "PAUSE_S", 0.0)


@pytest.fixture
def bench(tmp_path):
    return ControllerBench(tmp_path, shadow_frames=FRAMES)


def with_answer(answer):
    return lambda: FakeEngine(answer=answer)


def accepted(bench):
    """In the shadow, and opened."""
    bench.accept_one()
    bench.tick()
    return bench


def shadow(bench):
    return bench.controller.status().shadow


def said(bench):
    return [fact.outcome for fact in bench.events if isinstance(fact, PatchTried)]


def facts(bench, kind):
    return [fact for fact in bench.events if isinstance(fact, kind)]


def assert_is_gone(bench, outcome):
    """Nothing of the patch is left in the pipeline, its engine is freed, and the base answers."""
    assert (said(bench)[-1], shadow(bench), bench.slot.generation) == (outcome, None, BASE)
    assert all(engine.is_closed for engine in bench.patched)
    assert bench.pipeline._trial is None
    bench.play(3)
    assert {one.generation for one in bench.results} == {str(BASE)}


def assert_nothing_was_lost(bench):
    assert [one.seq for one in bench.results] == list(range(bench.frame))


def test_it_answers_copies_of_frames_and_becomes_active_with_the_engine_that_was_tried(bench):
    accepted(bench)
    assert (bench.slot.generation, len(bench.patched)) == (BASE, 1)
    assert (shadow(bench).patch, shadow(bench).frames, shadow(bench).wanted) == ("p1", 0, FRAMES)
    assert bench.controller.concern() is None
    bench.play(FRAMES // 2)
    bench.tick()
    assert shadow(bench).text == f"in the shadow: {FRAMES // 2} of {FRAMES} frames"
    assert {one.name for one in shadow(bench).findings} >= {"failures", "latency", "memory", "answers"}
    bench.play(FRAMES // 2)
    bench.tick()
    assert (bench.slot.generation, shadow(bench)) == (PATCHED, None)
    assert (bench.slot.engine, len(bench.patched)) == (bench.patched[0], 1)
    assert not bench.patched[0].is_closed
    assert bench.model_state.load_rollout("parts/1").active == PATCHED
    assert bench.controller.status().corrected_by == "p1"
    assert said(bench) == ["begun", "active"]
    assert [fact.generation for fact in facts(bench, Recalibrated)] == [PATCHED]
    assert {one.generation for one in bench.results} == {str(BASE)}
    bench.play(2)
    assert_nothing_was_lost(bench)
    assert bench.results[-1].generation == str(PATCHED)
    bench.watch.changes = ["returned"]
    bench.feed(2)
    assert bench.slot.generation == BASE


def test_a_patch_may_change_every_answer(bench):
    bench.make_patched = with_answer(lambda batch: {"scores": -channel_means(batch)["scores"]})
    accepted(bench)
    bench.play(FRAMES)
    bench.tick()
    assert bench.slot.generation == PATCHED
    agreement = facts(bench, PatchTried)[-1].findings["agreement"]
    assert (agreement["verdict"], agreement["value"] < 0.5) == ("fail", True)


def not_a_number(batch):
    return {"scores": channel_means(batch)["scores"] * np.nan}


def fails(batch):
    raise EngineError("it broke")


def slow(batch):
    threading.Event().wait(0.02)
    return channel_means(batch)


def always_a(batch):
    return {"scores": np.tile(np.float32([9, 0, 0]), (len(batch), 1))}


@pytest.mark.parametrize(
    ("answer", "failed"),
    [(not_a_number, "failures"), (fails, "failures"), (slow, "latency"), (always_a, "answers")],
)
def test_one_that_is_worse_than_what_answers_is_refused_like_by_the_gate(tmp_path, answer, failed):
    bench = ControllerBench(tmp_path, shadow_frames=40)
    bench.make_patched = with_answer(answer)
    accepted(bench)
    for _ in range(40):
        if shadow(bench) is not None:
            bench.play(1)
            bench.tick()
    assert_is_gone(bench, "refused")
    assert_nothing_was_lost(bench)
    end = facts(bench, PatchTried)[-1]
    assert (end.findings[failed]["verdict"], end.report) == ("fail", "parts/t1")
    [refused] = facts(bench, RecalibrationRefused)
    assert (refused.report.accepted, refused.report.patch, refused.report.report) == (False, None, "parts/t1")
    assert refused.report.reasons[0].endswith(end.reason)
    status = bench.controller.status()
    assert (status.accepted, status.refused, status.last_report["accepted"]) == (0, 1, False)
    assert Reports(bench.model_state.folder).read_figures("t1")["accepted"] is False
    assert bench.model_state.is_withdrawn("p1")


def test_the_limits_are_those_of_the_models_versions_and_may_be_edited(bench):
    bench.make_patched = with_answer(slow)
    accepted(bench)
    bench.edit(limits={"latency_ms": 60_000})
    bench.play(FRAMES)
    bench.tick()
    assert bench.slot.generation == PATCHED


def test_refusals_of_the_shadow_double_the_cool_down_as_those_of_the_gate(bench):
    bench.make_patched = with_answer(fails)
    accepted(bench)
    for attempt, cooldown_s in enumerate((60, 120, 240), start=1):
        bench.play(3)
        bench.tick()
        assert said(bench)[-1] == "refused"
        bench.tick(cooldown_s - 10)
        assert len(bench.jobs) == attempt
        bench.tick(11)
        bench.feed(9)
        assert len(bench.jobs) == attempt + 1
        bench.jobs[-1].end(ACCEPTED)
        bench.tick()
        bench.tick()


def test_its_drift_starts_no_second_recalibration_and_one_by_command_takes_its_place(bench):
    accepted(bench)
    bench.tick(100)
    bench.feed(20)
    assert (len(bench.jobs), shadow(bench).patch) == (1, "p1")
    bench.request("recalibrate")
    bench.feed(9)
    bench.jobs[-1].end(REFUSED)
    bench.tick()
    assert shadow(bench).patch == "p1"
    bench.request("recalibrate")
    bench.feed(9)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    bench.tick()
    assert (shadow(bench).patch, said(bench)) == ("p2", ["begun", "withdrawn", "begun"])
    assert [engine.is_closed for engine in bench.patched] == [True, False]


def test_without_a_verdict_in_time_it_waits_for_a_person_and_needs_no_other_shadow(tmp_path):
    bench = accepted(ControllerBench(tmp_path, shadow_frames=FRAMES, shadow_longest_s=100.0))
    bench.play(5)
    bench.tick(99)
    assert shadow(bench) is not None
    bench.tick(2)
    assert_is_gone(bench, "inconclusive")
    assert [fact.patch for fact in facts(bench, PatchProposed)] == ["p1"]
    again = ControllerBench(tmp_path, shadow_frames=FRAMES, clock=bench.clock)
    again.watch.changes = ["alarm"]
    again.feed(3)
    status = again.controller.status()
    assert (status.autonomy, status.proposal.patch, status.shadow) == ("auto", "p1", None)
    assert status.proposal.report == "parts/t1"
    assert again.request("approve-patch") == {"generation": str(PATCHED)}
    assert again.slot.generation == PATCHED


def test_it_may_be_approved_without_more_ado_where_no_shadow_is_wanted_any_more(tmp_path):
    bench = accepted(ControllerBench(tmp_path, shadow_frames=FRAMES, shadow_longest_s=100.0))
    bench.tick(101)
    assert bench.slot.generation == BASE
    bench.edit(shadow_frames=0)
    assert bench.slot.generation == PATCHED


def test_a_person_approves_and_the_shadow_decides(tmp_path):
    bench = ControllerBench(tmp_path, shadow_frames=FRAMES, autonomy="propose")
    bench.accept_one()
    assert shadow(bench) is None
    assert bench.request("approve-patch") == {"shadow": "p1", "frames_wanted": FRAMES}
    bench.tick()
    assert [(fact.outcome, fact.generation) for fact in facts(bench, ProposalEnded)] == [("approved", None)]
    with pytest.raises(CommandError, match="shadow"):  # a second click must not skip it
        bench.request("approve-patch")
    bench.play(FRAMES)
    bench.tick()
    assert (bench.slot.generation, said(bench)) == (PATCHED, ["begun", "active"])
    assert bench.controller.status().accepted == 1


@pytest.mark.parametrize("patch", [None, "p1"])
def test_a_person_rejects_it_in_the_shadow(bench, patch):
    accepted(bench)
    assert bench.request("reject-patch", patch=patch) == {"rejected": "p1"}
    assert_is_gone(bench, "rejected")
    bench.tick(1000)
    bench.feed(20)
    assert len(bench.jobs) == 1


def test_a_known_patch_that_is_accepted_again_goes_through_the_shadow_again(bench):
    accepted(bench)
    bench.play(FRAMES)
    bench.watch.changes = ["returned"]
    bench.feed(2)
    bench.tick(1000)
    bench.watch.changes, bench.watch.known_drift = ["alarm"], "p1"
    bench.feed(9)
    assert bench.jobs[-1].request.known.keys() == {"p1"}
    bench.jobs[-1].end(type(ACCEPTED)(**{**fields_of(ACCEPTED), "candidate": "p1", "is_known": True}))
    bench.tick()
    bench.tick()
    assert (bench.slot.generation, shadow(bench).patch) == (BASE, "p1")
    bench.play(FRAMES)
    bench.tick()
    assert bench.slot.generation == PATCHED
    assert facts(bench, Recalibrated)[-1].report.is_known


def fields_of(report):
    return {name: getattr(report, name) for name in type(report).__dataclass_fields__}


def test_it_waits_for_a_version_that_is_on_its_way_and_gives_way_to_one_that_begins(bench):
    bench.version = "parts/2"
    accepted(bench)
    assert (bench.patched, said(bench), shadow(bench).waits_for) == ([], ["waits"], "parts/2")
    assert "parts/2" in bench.controller.concern()
    bench.version = None
    bench.tick()
    bench.play(FRAMES - 1)
    bench.version = "parts/3"
    bench.tick(10_000)
    assert (bench.patched[0].is_closed, shadow(bench).frames) == (True, 0)
    bench.version = None
    bench.tick(10_000)
    bench.play(FRAMES - 1)
    bench.tick(1)
    assert bench.slot.generation == BASE
    bench.play(1)
    bench.tick()
    assert bench.slot.generation == PATCHED
    assert said(bench) == ["waits", "begun", "waits", "begun", "active"]


def test_a_version_that_begins_in_the_same_moment_is_the_one_that_is_tried(bench):
    accepted(bench)
    other = bench.controller._trials._trial._run.trial
    version = type(other._trial)(other._trial.arm, other.figures, lambda stream, seq: False)
    bench.pipeline.begin_trial(version)
    bench.version = "parts/2"
    bench.tick()
    assert bench.patched[0].is_closed
    assert (bench.pipeline._trial, version.is_over) == (version, False)


def test_a_version_that_becomes_active_ends_it_with_that_reason(bench):
    accepted(bench)
    bench.version = "parts/2"
    bench.tick()
    bench.controller.stop(1.0, "parts/2 answers now instead of parts/1")
    assert (said(bench)[-1], bench.patched[0].is_closed) == ("withdrawn", True)
    assert "parts/2" in bench.last_event.reason


def test_a_stop_while_it_is_being_opened_frees_it(bench):
    """The main thread waits no longer than some seconds for the controller's."""

    def close_meanwhile():
        bench.controller._trials.close()
        return FakeEngine()

    bench.make_patched = close_meanwhile
    accepted(bench)
    assert [engine.is_closed for engine in bench.patched] == [True]
    assert (bench.pipeline._trial, bench.slot.generation) == (None, BASE)


@pytest.mark.parametrize("is_killed", [False, True])
def test_after_a_stop_what_was_active_is_active_and_the_patch_is_a_known_one(bench, tmp_path, is_killed):
    accepted(bench)
    bench.play(5)
    if not is_killed:
        bench.controller.stop(1.0)
        assert_is_gone(bench, "withdrawn")
    again = ControllerBench(tmp_path, shadow_frames=FRAMES, rollout=bench.model_state.load_rollout("parts/1"))
    status = again.controller.status()
    assert (again.slot.generation, status.shadow, status.proposal) == (BASE, None, None)
    assert again.model_state.list_patch_ids() == ["p1"]
    assert not again.model_state.is_withdrawn("p1")


def test_it_ends_when_its_drift_is_over(bench):
    accepted(bench)
    bench.watch.changes = ["returned"]
    bench.feed(2)
    assert_is_gone(bench, "withdrawn")
    assert not bench.model_state.is_withdrawn("p1")  # the drift may come again


def test_it_ends_when_another_baseline_comes(bench):
    accepted(bench)
    bench.commission(name="night", seed=5)
    bench.watch.changes = ["night"]
    bench.feed(2)
    assert_is_gone(bench, "withdrawn")


def test_it_ends_when_what_it_is_compared_with_is_rolled_back(bench):
    accepted(bench)
    with pytest.raises(CommandError, match="reject-patch"):
        bench.request("rollback")
    bench.play(FRAMES)
    bench.tick()
    bench.tick(100)
    bench.watch.score = 5.0
    bench.feed(9)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    bench.tick()
    assert (bench.slot.generation, shadow(bench).active) == (PATCHED, str(PATCHED))
    assert bench.request("rollback") == {"generation": str(BASE)}
    assert (bench.slot.generation, shadow(bench), said(bench)[-1]) == (BASE, None, "withdrawn")
    bench.tick(1000)
    assert (bench.slot.generation, bench.patched[-1].is_closed) == (BASE, True)


def test_it_ends_when_the_patch_that_it_is_compared_with_keeps_failing(bench):
    accepted(bench)
    bench.play(FRAMES)
    bench.tick()
    bench.tick(100)
    bench.watch.score = 5.0
    bench.feed(9)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    bench.tick()
    bench.slot.engine.failures = 5
    for _ in range(5):
        lease = bench.slot.acquire()
        with pytest.raises(EngineError):
            bench.slot.infer(lease, np.zeros((1, 3, 8, 8), np.float32))
        bench.slot.release(lease)
    bench.tick()
    bench.tick()
    assert (bench.slot.generation, shadow(bench), said(bench)[-1]) == (BASE, None, "withdrawn")


@pytest.mark.parametrize("settings", [{"enabled": False}, {"autonomy": "observe"}])
def test_an_edit_by_which_no_patch_is_used_ends_it(bench, settings):
    accepted(bench)
    bench.edit(**settings)
    assert_is_gone(bench, "withdrawn")


@pytest.mark.parametrize("frames", [0, 5])
def test_an_edit_to_no_shadow_uses_it_as_it_was_opened(bench, frames):
    accepted(bench)
    bench.play(frames)
    bench.edit(shadow_frames=0)
    assert (bench.slot.generation, said(bench)) == (PATCHED, ["begun", "active"])
    assert [engine.is_closed for engine in bench.patched] == [False]


def test_an_edit_to_fewer_frames_counts_at_once(bench):
    accepted(bench)
    bench.play(10)
    bench.edit(shadow_frames=10)
    assert bench.slot.generation == PATCHED


@pytest.mark.parametrize("is_allowed", [True, False])
def test_its_page_has_pictures_of_disagreements_only_where_they_may_be_kept(bench, is_allowed):
    bench.make_patched = with_answer(always_a)
    accepted(bench)
    bench.play(5)
    if not is_allowed:
        bench.edit(reference=ReferenceConfig(pictures="never"))
    bench.play(FRAMES - 5)
    bench.tick()
    page = Reports(bench.model_state.folder).read_page("t1")
    assert page is not None
    assert (b"data:image" in page) is is_allowed


def test_an_engine_that_hangs_when_it_has_passed_is_not_used_and_freed_when_it_comes_back(bench, monkeypatch):
    monkeypatch.setattr(trial_run, "SHADOW_ENDS_S", 0.01)
    accepted(bench)
    bench.play(FRAMES)
    engine = bench.patched[0]
    seen, engine.gate = len(engine.batch_sizes), threading.Event()
    shadow_thread = bench.controller._trials._trial._run.trial._shadow
    shadow_thread.offer(shadow_thread_frame(bench))
    assert until(lambda: len(engine.batch_sizes) > seen)
    bench.tick()
    assert (bench.slot.generation, said(bench)[-1], engine.is_closed) == (BASE, "failed", False)
    assert isinstance(bench.last_event, TaskFailed)
    engine.gate.set()
    assert until(lambda: engine.is_closed)


def shadow_thread_frame(bench):
    """A frame as the pipeline shows it to the shadow."""
    shown, show = [], bench.controller._trials._trial._run.trial.figures
    before, show.show = show.show, shown.append
    bench.play_alone()
    show.show = before
    return shown[0]


@pytest.mark.parametrize("broken", ["opening", "record", "bug"])
def test_one_that_cannot_be_opened_or_recorded_changes_nothing(bench, broken):
    if broken == "opening":
        bench.build_error = EngineError("it does not run")
    elif broken == "bug":
        bench.build_error = RuntimeError("nobody foresaw it")
    accepted(bench)
    if broken == "record":
        (bench.model_state.folder / "active.json" / "in the way").mkdir(parents=True)
        bench.play(FRAMES)
        bench.tick()
        shutil.rmtree(bench.model_state.folder / "active.json")
    assert_is_gone(bench, "failed")
    assert isinstance(facts(bench, TaskFailed)[-1], TaskFailed)
    assert bench.controller.status().failed == 1
    assert bench.crashes.by_thread() == ({"patch-trial": 1} if broken == "bug" else {})
    bench.build_error = None
    bench.tick(1000)
    bench.feed(9)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    bench.tick()
    bench.play(FRAMES)
    bench.tick()
    assert bench.slot.generation.patch is not None
