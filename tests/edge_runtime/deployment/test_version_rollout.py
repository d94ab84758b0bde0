"""The rollout of versions, with a real pipeline around scripted engines: stages, what is on the disk, what is freed."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from edge_runtime.datatypes import Generation, Label
from edge_runtime.deployment import kept_pointers, version_pointers
from edge_runtime.deployment.reports import Reports
from edge_runtime.deployment.rollout_policy.plan import LEAST_FRAMES
from edge_runtime.deployment.rollout_policy.stages import Command
from edge_runtime.deployment.shadow import Shadowed
from edge_runtime.deployment.trial_run import TrialRun
from edge_runtime.deployment.version_pointers import VersionPointers
from edge_runtime.deployment.version_rollout import LOOK_EVERY_S
from edge_runtime.errors import BundleError, CommandError, EngineError, StateError
from edge_runtime.inference.postprocess.postprocessor import Answer, Postprocessor
from edge_runtime.inference.specs import RawSpec
from edge_runtime.system.rfc3339 import parse_rfc3339
from tests.support.fake_engine import FakeEngine, channel_means
from tests.support.paths import ROOT
from tests.support.pipeline_bench import NEVER, SPEC, make_frame
from tests.support.rollout_bench import RolloutBench
from tests.support.waiting import WAIT_S, until


@pytest.fixture
def bench(tmp_path):
    return RolloutBench(tmp_path)


def test_a_good_version_goes_through_all_stages_and_is_handed_over(bench):
    bench.begin()
    assert bench.stage == "shadow"
    assert bench.pointers == VersionPointers(active=1, candidate=2, starts={2: 1})
    bench.play_until("canary")
    assert {one.generation for one in bench.results} == {"parts/1"}
    bench.play_until("watched")
    assert {one.generation for one in bench.results} == {"parts/1", "parts/2"}
    assert bench.pointers.active == 1  # a restart now goes back to what was proven
    watched_from = len(bench.results)
    bench.play(30)
    bench.tick()
    assert bench.stage == "watched"
    bench.tick(later_s=61.0)
    assert bench.stage == "active"
    assert bench.handed_over == 1
    assert bench.rollout.is_handing_over
    assert bench.rollout.has_passed("hash of 2")
    assert not bench.rollout.has_passed("hash of 1")
    assert bench.pointers == VersionPointers(active=2, previous=1)
    bench.play(5)  # until the main thread has opened it
    assert {one.generation for one in bench.results[watched_from:]} == {"parts/2"}
    assert [one.seq for one in bench.results] == list(range(bench.seq))
    assert bench.stages() == [
        ("staged", "staged"), ("staged", "shadow"), ("shadow", "canary"), ("canary", "watched"),
        ("watched", "active"),
    ]  # fmt: skip
    bench.rollout.stop(1.0)
    assert bench.engines[2].is_closed


NO_STAGE = {"shadow": {"frames": 0}, "canary": {"frames": 0}}


def test_without_a_stage_before_the_watch_the_active_version_is_measured_first(tmp_path):
    bench = RolloutBench(tmp_path, **NO_STAGE)
    bench.begin()
    bench.play(LEAST_FRAMES - 1)
    bench.tick()
    assert bench.stage == "staged"
    assert f"{LEAST_FRAMES - 1} of {LEAST_FRAMES}" in bench.rollout.status().verdict
    bench.play(1)
    bench.tick()
    assert bench.stage == "watched"
    assert {one.generation for one in bench.results} == {"parts/1"}
    bench.play(LEAST_FRAMES)
    bench.tick(later_s=61.0)
    assert bench.stage == "active"
    findings = bench.facts[-1].findings
    assert {"latency", "confidence", "answers"} <= set(findings)
    assert {one["verdict"] for one in findings.values()} == {"pass"}


def test_what_the_figures_do_not_tell_of_a_candidate_is_said_with_every_verdict(tmp_path):
    bench = RolloutBench(tmp_path)
    opened, note = bench.open_candidate, "no threshold yet"
    bench.open_candidate = lambda *given: replace(opened(*given), note=note)
    bench.rollout = bench.make()
    bench.begin()
    bench.tick()
    assert bench.rollout.status().verdict.endswith(note)


def test_without_a_stage_before_the_watch_a_collapse_is_refused_all_the_same(tmp_path):
    bench = RolloutBench(tmp_path, **NO_STAGE)
    bench.begin(engine=FakeEngine(answer=one_answer))
    bench.play_until(None)
    assert bench.facts[-1].findings["answers"]["verdict"] == "fail"


def test_a_box_without_frames_goes_on_after_a_time_and_asks_at_the_end_of_the_watch(tmp_path):
    bench = RolloutBench(tmp_path, **{**NO_STAGE, "canary": {"frames": 0, "longest_s": 100.0}})
    bench.begin()
    bench.tick(later_s=99.0)
    assert bench.stage == "staged"
    bench.tick(later_s=2.0)
    assert bench.stage == "watched"
    bench.play(LEAST_FRAMES)
    bench.tick(later_s=200.0)
    assert bench.stage == "watched"
    assert f"0 of {LEAST_FRAMES}" in bench.rollout.status().paused


def test_what_waits_for_frames_of_the_active_version_can_be_taken_out(tmp_path):
    bench = RolloutBench(tmp_path, **NO_STAGE)
    bench.begin()
    bench.play(3)
    bench.rollout.command(Command.ABORT)
    assert set(bench.pointers.refused) == {2}
    assert bench.engines[2].is_closed


def nan(batch):
    return {name: array * np.nan for name, array in channel_means(batch).items()}


def fails(batch):
    raise EngineError("it broke")


def one_answer(batch):
    return {"scores": np.tile(np.float32([9, 0, 0]), (len(batch), 1))}


@pytest.mark.parametrize(
    ("answer", "metric"), [(nan, "failures"), (fails, "failures"), (one_answer, "agreement")]
)
def test_a_broken_version_is_refused_in_the_shadow_and_nothing_of_it_is_published(bench, answer, metric):
    bench.begin(engine=FakeEngine(answer=answer))
    bench.play_until(None)
    assert {one.generation for one in bench.results} == {"parts/1"}
    last = bench.facts[-1]
    assert (last.stage, last.bundle, last.active) == ("refused", "parts/2", "parts/1")
    assert last.findings[metric]["verdict"] == "fail"
    assert bench.pointers.active == 1
    assert bench.pointers.candidate is None
    assert set(bench.pointers.refused) == {2}
    assert bench.engines[2].is_closed
    bench.tick(later_s=LOOK_EVERY_S + 1)
    assert bench.stage is None  # not tried again


def test_wrong_labels_are_a_disagreement(tmp_path):
    bench = RolloutBench(tmp_path, labels=("b", "c", "a"))
    bench.begin()
    bench.play_until(None)
    assert bench.facts[-1].findings["agreement"]["value"] == 0.0


def test_a_disagreement_with_a_patched_version_waits_for_a_person_and_names_the_patch(tmp_path):
    bench = RolloutBench(tmp_path, labels=("b", "c", "a"))
    bench.pipeline.slot.swap(Generation("parts/1", "p7"), FakeEngine())
    bench.begin()
    for _ in range(bench.plan.shadow.frames + 10):
        bench.play(1)
        bench.tick()
    assert bench.stage == "shadow"
    assert "parts/1+p7" in bench.rollout.status().paused
    bench.engines[2].answer = nan  # what is no comparison still refuses it
    bench.play_until(None)
    assert set(bench.pointers.refused) == {2}


def test_what_breaks_late_is_taken_back_at_once_and_no_frame_is_lost(bench):
    bench.begin()
    bench.play_until("watched")
    bench.play(10)
    bench.engines[2].answer = fails
    first_bad = bench.seq
    bench.play_until(None)
    after = [one for one in bench.results if one.seq >= first_bad]
    assert {one.generation for one in after} == {"parts/1"}
    assert [one.seq for one in bench.results] == list(range(bench.seq))
    assert bench.seq - first_bad <= bench.plan.limits.failures_in_a_row
    assert not bench.errors  # the model that the box relies on never failed


def test_a_version_that_cannot_be_opened_is_refused(bench):
    bench.opening_fails = BundleError("parts/2", "damaged", "a bundle", "Copy it again.")
    bench.begin()
    assert bench.stage is None
    assert "damaged" in bench.pointers.refused[2]
    assert bench.pointers.starts == {}


def test_a_version_whose_opening_fails_unexpectedly_is_refused_and_keeps_no_other_from_its_turn(bench):
    """Such as for want of memory: no error of the bundle's own."""
    bench.opening_fails = MemoryError("cannot allocate")
    bench.begin()
    assert bench.crashes.by_thread() == {"rollout-parts": 1}
    assert bench.stage is None
    assert set(bench.pointers.refused) == {2}
    bench.opening_fails = None
    bench.installed.add(3)
    bench.tick(later_s=LOOK_EVERY_S + 1)
    assert bench.stage == "shadow"


def test_a_version_that_took_the_process_with_it_twice_is_not_tried_a_third_time(bench):
    bench.begin()
    for ends in (1, 2):
        assert bench.pointers.starts == {2: ends}
        assert bench.stage == "shadow"
        bench.restart()
        bench.begin()
    assert bench.stage is None
    assert set(bench.pointers.refused) == {2}
    assert bench.facts[-1].stage == "refused"


def test_an_orderly_stop_is_no_reason_to_refuse(bench):
    bench.begin()
    for _ in range(4):
        bench.rollout.stop(1.0)
        assert bench.pointers.starts == {}
        bench.rollout = bench.make()
        bench.begin()
        assert bench.stage == "shadow"


def test_a_version_that_is_still_being_opened_when_the_model_is_replaced_touches_nothing(bench):
    """A self-test may take longer than the main thread waits; by then another rollout has the pointers."""
    is_opening, may_go_on = threading.Event(), threading.Event()
    opened = bench.open_candidate

    def open_late(version, should_stop):
        is_opening.set()
        assert may_go_on.wait(WAIT_S)
        return opened(version, lambda: False)

    bench.open_candidate = open_late
    bench.rollout = bench.make()
    bench.rollout.start()
    bench.installed.add(2)
    bench.now_s += LOOK_EVERY_S + 1
    assert is_opening.wait(WAIT_S)
    bench.rollout.stop(0.01)
    after = VersionPointers(active=1, candidate=2, starts={2: 7})  # by the next rollout
    after.save(bench.folder / "versions.json")
    may_go_on.set()
    assert until(lambda: 2 in bench.engines and bench.engines[2].is_closed)
    assert bench.pointers == after
    bench.pipeline.begin_trial(object())  # asserts that there is none
    with pytest.raises(CommandError):
        bench.rollout.command(Command.PROMOTE)
    with pytest.raises(CommandError):
        bench.rollout.retry(2)


def test_starts_before_a_power_cut_do_not_count(bench, monkeypatch):
    for boot in "abc":
        monkeypatch.setattr(kept_pointers, "read_boot_id", lambda boot=boot: boot)
        bench.begin()
        assert bench.pointers.starts == {2: 1}
        assert bench.stage == "shadow"
        bench.restart()


def test_an_edit_that_was_given_up_leaves_no_start_behind(bench):
    noted = VersionPointers(active=1, starts={1: 1}, boot=version_pointers.read_boot_id())
    noted.save(bench.folder / "versions.json")
    bench.rollout.stop(1.0)
    assert bench.pointers == VersionPointers(active=1)


def test_commands(bench):
    with pytest.raises(CommandError):
        bench.rollout.command(Command.PROMOTE)
    bench.begin()
    with pytest.raises(CommandError):
        bench.rollout.command(Command.RESUME)
    assert bench.rollout.command(Command.PAUSE)["paused"]
    bench.play(30)
    bench.tick()
    assert bench.stage == "shadow"  # it passes, and waits
    bench.rollout.command(Command.RESUME)
    bench.tick()
    assert bench.stage == "canary"
    bench.rollout.command(Command.PROMOTE)
    assert bench.stage == "watched"
    answer = bench.rollout.command(Command.ABORT)
    assert answer["candidate"] is None
    assert list(answer["refused"]) == ["2"]
    with pytest.raises(CommandError):
        bench.rollout.retry(3)
    bench.rollout.retry(2)
    bench.tick()
    assert bench.stage == "shadow"
    assert [step["stage"] for step in bench.rollout.history()] == [fact.stage for fact in bench.facts]


def test_promotion_waits_for_a_person_where_the_plan_says_so(tmp_path):
    bench = RolloutBench(tmp_path, promote="ask")
    bench.begin()
    bench.play_until("canary")
    for _ in range(100):
        bench.play(1)
        bench.tick()
    assert bench.stage == "canary"
    assert bench.rollout.status().paused
    bench.rollout.command(Command.PROMOTE)
    bench.play(1)
    assert bench.results[-1].generation == "parts/2"


@pytest.fixture
def waiting(tmp_path):
    """A version that passed, and is promoted three hours after that."""
    bench = RolloutBench(tmp_path, promote="ask", promote_at="0 3 * * *")
    bench.begin()
    assert bench.rollout.status().promotes_at is None
    bench.play_until("canary")
    for _ in range(100):
        bench.play(1)
        bench.tick()
    assert bench.stage == "canary"
    return bench


def test_a_version_that_passed_is_promoted_at_the_time_that_the_plan_names(waiting):
    due_wall_s = parse_rfc3339(waiting.rollout.status().promotes_at)
    waiting.tick(later_s=due_wall_s - 1e9 - waiting.now_s - 60)
    assert waiting.stage == "canary"
    waiting.tick(later_s=61)
    assert waiting.stage == "watched"
    waiting.tick()
    assert waiting.rollout.status().promotes_at is None
    assert "promote_at" in waiting.facts[-1].reason


def test_another_time_counts_at_once_and_a_person_need_not_wait_for_it(waiting):
    first = waiting.rollout.status().promotes_at
    later = waiting.plan.model_copy(update={"promote_at": "0 5 * * *"})
    waiting.rollout.reconfigure(later, keeps_pictures=False)
    waiting.tick()
    assert parse_rfc3339(waiting.rollout.status().promotes_at) > parse_rfc3339(first) + 3600
    waiting.rollout.command(Command.PROMOTE)
    waiting.tick()
    assert (waiting.stage, waiting.rollout.status().promotes_at) == ("watched", None)


@pytest.mark.parametrize("set_by_s", [10 * 365 * 86_400.0, -86_400.0])
def test_a_clock_that_is_set_promotes_nothing_and_the_next_time_by_it_counts(waiting, set_by_s):
    waiting.wall_ahead_s += set_by_s
    waiting.tick()
    now_wall_s = waiting.wall_ahead_s + waiting.now_s
    due_wall_s = parse_rfc3339(waiting.rollout.status().promotes_at)
    assert (waiting.stage, 0 < due_wall_s - now_wall_s <= 86_400, due_wall_s % 86_400) == (
        "canary",
        True,
        10_800,
    )
    waiting.tick(later_s=due_wall_s - now_wall_s + 1)
    assert waiting.stage == "watched"


def test_after_a_restart_it_has_to_pass_again_first(waiting):
    waiting.restart()
    waiting.begin()
    waiting.tick(later_s=4 * 3600)
    assert (waiting.stage, waiting.rollout.status().promotes_at) == ("shadow", None)


def test_one_that_was_taken_back_is_not_promoted(waiting):
    waiting.rollout.command(Command.ABORT)
    waiting.tick(later_s=4 * 3600)
    assert list(waiting.rollout.status().refused) == ["2"]
    assert waiting.rollout.status().promotes_at is None


def test_a_disk_that_refuses_keeps_a_candidate_out_and_a_promoted_one_watched(bench, monkeypatch):
    bench.begin()
    bench.play_until("watched")
    bench.play(30)
    (bench.folder / "versions.json").unlink()
    (bench.folder / "versions.json").mkdir()  # no rename replaces it
    bench.tick(later_s=61.0)
    assert bench.stage == "watched"
    assert bench.handed_over == 0
    assert bench.rollout.status().problem
    (bench.folder / "versions.json").rmdir()
    bench.tick()
    assert bench.stage == "active"
    assert bench.rollout.status().problem is None


def test_a_disk_that_refuses_at_the_start_forgets_no_refused_version(bench, monkeypatch):
    VersionPointers(active=1, refused={2: "it was bad"}).save(bench.folder / "versions.json")

    def refuse(path, data):
        raise StateError("no space left")

    with monkeypatch.context() as full:
        full.setattr(version_pointers, "write_atomically", refuse)
        bench.begin()
        assert bench.rollout.status().refused == {"2": "it was bad"}
        assert bench.rollout.status().problem
    bench.installed.add(3)
    bench.tick(later_s=LOOK_EVERY_S + 1)
    assert bench.pointers == VersionPointers(
        active=1, candidate=3, refused={2: "it was bad"}, starts={3: 1}
    )  # without an active one the next start would take the candidate
    bench.rollout.command(Command.ABORT)
    bench.tick(later_s=LOOK_EVERY_S + 1)
    assert set(bench.engines) == {3}


def test_a_hand_over_that_fails_goes_back(bench):
    bench.begin()
    bench.play_until("watched")
    bench.play(30)
    bench.tick(later_s=61.0)
    bench.rollout.hand_over_failed("its files are gone")
    assert bench.stage is None
    assert bench.pointers == VersionPointers(active=1, refused={2: "its files are gone"})
    bench.play(1)
    assert bench.results[-1].generation == "parts/1"


def test_growing_memory_ends_a_trial(bench, monkeypatch):
    memory = [100.0]
    monkeypatch.setattr(TrialRun.__init__, "__defaults__", (lambda: memory[0],))
    bench.begin()
    bench.play(3)
    bench.tick()
    assert bench.stage == "shadow"
    memory[0] += bench.plan.limits.memory_mib + 1
    bench.tick()
    assert bench.stage is None
    assert bench.facts[-1].findings["memory"]["verdict"] == "fail"


def test_the_shadow_steps_aside_for_live_frames(tmp_path):
    """As long as frames wait or run, the candidate is not asked."""
    bench, asked = RolloutBench(tmp_path), []
    wait_for_pause = bench.pipeline.wait_for_pause

    def wait(timeout_s):
        asked.append(wait_for_pause(timeout_s))
        return asked[-1]

    bench.pipeline.wait_for_pause = wait
    bench.begin()
    bench.pipeline.accept(make_frame(0), is_live=True, stop=NEVER)
    bench.pipeline.step(0.0)
    assert until(lambda: bench.frames_of_candidate() == 1)
    bench.pipeline.accept(make_frame(1), is_live=True, stop=NEVER)  # waits, and nothing takes it
    asked.clear()
    bench.rollout._steps.run.figures.show(_shadowed(bench))
    assert until(lambda: len(asked) >= 2)
    assert not any(asked)
    assert bench.frames_of_candidate() == 1
    bench.pipeline.step(0.0)
    assert until(lambda: bench.frames_of_candidate() >= 2)


def _shadowed(bench):
    frame = make_frame(5)
    answer = Answer(top=(Label(0, "a", 0.9),))
    return Shadowed(frame, bench.pipeline.preprocessor.prepare(frame), answer)


def test_what_begins_late_in_a_long_watch_does_not_drown_in_what_was_before(tmp_path):
    bench = RolloutBench(tmp_path, limits={"latency_ratio": 1000})  # a busy machine is slow at any time
    bench.begin()
    bench.play_until("watched")
    bench.play(3000)
    bench.tick()
    assert bench.stage == "watched"
    slow = iter(range(10**6))
    bench.engines[2].answer = lambda batch: nan(batch) if next(slow) % 10 == 0 else channel_means(batch)
    began = bench.seq
    bench.play_until(None)
    assert bench.seq - began <= 2 * bench.plan.canary.frames
    assert bench.facts[-1].findings["failures"]["verdict"] == "fail"


def test_a_trial_leaves_a_report_whatever_its_end(bench):
    bench.begin()
    bench.play_until("canary")
    bench.rollout.command(Command.ABORT)
    (last,) = [fact for fact in bench.facts if fact.stage == "refused"]
    assert last.report == "parts/t1"
    assert [fact.report for fact in bench.facts[:-1]] == [None] * (len(bench.facts) - 1)
    reports = Reports(bench.folder)
    figures = reports.read_figures("t1")
    assert (figures["accepted"], figures["candidate"], figures["active"]) == (False, "parts/2", "parts/1")
    stages = {one["stage"]: one for one in figures["stages"]}
    assert list(stages) == ["staged", "shadow", "canary"]
    assert stages["shadow"]["candidate"]["frames"] >= 20
    assert stages["shadow"]["findings"]
    assert b"parts/2" in reports.read_page("t1")


def test_a_version_that_passed_has_a_report_that_says_so(bench):
    bench.begin()
    bench.play_until("watched")
    bench.rollout.command(Command.PROMOTE)
    assert Reports(bench.folder).read_figures("t1")["accepted"] is True


def test_both_arms_are_compared_with_intervals_in_status_event_history_and_report(bench):
    bench.begin()
    bench.play(10)
    shadow = bench.rollout.status().comparisons
    assert {one.name for one in shadow} == {"confidence", "confident_share", "label_share"}
    assert {(one.is_paired, one.frames) for one in shadow} == {(True, 10)}
    bench.play_until("canary")
    event = bench.facts[-1]
    assert {one["is_paired"] for one in event.comparisons} == {True}
    assert event.findings["agreement"]["low"] < 1 == event.findings["agreement"]["high"]
    bench.play(30)
    canary = bench.rollout.status().comparisons
    assert {one.is_paired for one in canary} == {False}
    assert all(one.low <= one.difference <= one.high for one in canary)
    bench.play_until("watched")
    assert bench.rollout.status().comparisons == ()
    bench.rollout.command(Command.ABORT)
    steps = {step["stage"]: step for step in bench.rollout.history()}
    assert steps["canary"]["comparisons"][0]["name"] == "confidence"
    stages = {one["stage"]: one for one in Reports(bench.folder).read_figures("t1")["stages"]}
    assert {one["is_paired"] for one in stages["canary"]["comparisons"]} == {False}
    assert stages["canary"]["comparisons"][0]["text"] in Reports(bench.folder).read_page("t1").decode()


def test_a_plain_comparison_for_a_week_measures_until_a_person_ends_it(tmp_path):
    """As docs/rollout.md says: half of the frames each, nothing but failures decides."""
    plan = yaml_of_rollout("A comparison of a week")
    bench = RolloutBench(
        tmp_path, **{**plan, "shadow": {"frames": 20, "cpu": 200}, "limits": {"agreement": 0.2}}
    )
    bench.begin(engine=FakeEngine(answer=one_answer_of_two))
    bench.play_until("canary")
    bench.play(400)
    bench.tick()
    bench.tick(later_s=86_400 * 7 - 10)
    assert (bench.stage, bench.rollout.status().paused) == ("canary", None)
    bench.tick(later_s=60)
    assert bench.stage == "canary"
    assert bench.rollout.status().paused
    bench.play(400)
    bench.tick()
    status = bench.rollout.status()
    assert 300 < status.figures["candidate"].frames < 500
    (share,) = [one for one in status.comparisons if one.label == "a"]
    assert share.difference > 0.1
    assert share.low > 0
    assert {one.arm for one in bench.results} == {None, "candidate"}
    bench.rollout.command(Command.ABORT)
    assert bench.stage is None


def one_answer_of_two(batch):
    """Another one than the active version in a part of the frames."""
    scores = channel_means(batch)["scores"].copy()
    scores[:, 0] += 0.02
    return {"scores": scores}


def yaml_of_rollout(heading):
    """The ``rollout`` of the example under a heading of the page about it."""
    text = (ROOT / "docs" / "rollout.md").read_text("utf-8").split(f"## {heading}", 1)[1]
    return yaml.safe_load(text.split("```yaml", 1)[1].split("```", 1)[0])["models"]["parts"]["rollout"]


def test_the_history_has_the_figures_of_the_stage_that_ended(bench):
    bench.begin()
    bench.play_until("canary")
    (step,) = [step for step in bench.rollout.history() if step["stage"] == "canary"]
    assert step["figures"]["candidate"]["frames"] >= 20


def test_a_disk_that_takes_no_report_keeps_no_version_from_its_end(bench):
    (bench.folder / "trials").symlink_to(bench.folder / "nowhere")
    bench.begin()
    bench.rollout.command(Command.ABORT)
    assert bench.facts[-1].report is None
    assert 2 in bench.pointers.refused


def test_no_picture_stays_where_that_is_forbidden_later(bench):
    (bench.folder / "trials" / "t1").mkdir(parents=True)
    page = bench.folder / "trials" / "t1" / "report.html"
    page.write_text("<p>a</p><!-- pictures begin --><img><!-- pictures end -->")
    bench.rollout.reconfigure(bench.plan, keeps_pictures=False)
    assert "img" not in page.read_text()


def test_a_version_that_another_bundle_had_refused_is_tried(bench):
    refused = VersionPointers(bundle="screws", active=1, refused={2: "it was bad"})
    refused.save(bench.folder / "versions.json")
    bench.begin()
    assert (bench.stage, bench.rollout.status().candidate) == ("shadow", 2)
    assert bench.pointers.of("screws").refused == {2: "it was bad"}


def test_answers_that_cannot_be_compared_wait_for_a_person_at_once_and_what_waits_behind_is_named(bench):
    bench.postprocessor = Postprocessor(SimpleNamespace(preprocess=SPEC, postprocess=RawSpec()), ())
    bench.begin()
    bench.installed |= {3, 4}
    bench.play(20)
    bench.tick(later_s=LOOK_EVERY_S + 1)
    status = bench.rollout.status()
    assert (status.stage, status.candidate, status.waiting) == ("shadow", 2, (3, 4))
    assert status.paused is not None
    assert {one.name: one.value for one in status.findings}["agreement"] is None
    bench.rollout.command(Command.ABORT)
    assert bench.rollout.status().waiting == ()
