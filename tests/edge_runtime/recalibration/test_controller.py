"""The controller without a thread: samples in, ``tick`` by hand, a scripted job instead of the process."""

from dataclasses import asdict

import numpy as np
import pytest

from edge_runtime.config import DriftConfig, RecalibrationConfig, ReferenceConfig
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.reports import Reports
from edge_runtime.errors import CommandError, EngineError, StateError
from edge_runtime.messaging.events import RolledBack, TaskFailed
from edge_runtime.recalibration.job.messages import CommissioningResult
from edge_runtime.recalibration.patch_policy import ENGINE_FAILURES
from edge_runtime.recalibration.task import Cause, TaskRequest
from tests.support.controller_bench import (
    ACCEPTED,
    BASE,
    BATCH,
    REFUSED,
    ControllerBench,
    a_baseline,
)
from tests.support.slots import answer


def test_without_a_baseline_nothing_happens_until_the_site_is_approved(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False)
    bench.feed(40)
    assert bench.jobs == []
    assert bench.controller.status().commissioned is False
    with pytest.raises(CommandError, match="'commission'"):
        bench.request("recalibrate")


def test_commissioning_by_command_uses_only_frames_from_then_on(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False)
    bench.feed(20)
    bench.clock.now += 0.5
    assert bench.request("commission")["frames_wanted"] == 16
    bench.feed(15)
    assert bench.jobs == []
    bench.feed(1)
    [job] = bench.jobs
    assert (job.request.kind, len(job.pixels)) == ("commission", 16)
    a_baseline().save(job.folder / "baseline.safetensors")
    (job.folder / "probe.onnx").write_bytes(b"probe")
    job.end(CommissioningResult(16, 5, 16.0))
    bench.tick()
    assert bench.kinds() == ["commissioned"]
    assert bench.store.list_names() == ["default"]
    assert bench.model_state.probe_path("a" * 64).read_bytes() == b"probe"
    assert bench.controller.status().commissioned is True


def test_windows_that_last_long_are_waited_for(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False, window_s=60.0)
    bench.request("commission")
    for _ in range(16):
        bench.clock.now += 59.0
        bench.feed(1)
    [job] = bench.jobs
    assert len(job.pixels) == 16


@pytest.mark.parametrize("content", [None, b"junk"])
def test_a_job_that_left_no_usable_baseline_has_failed(tmp_path, content):
    bench = ControllerBench(tmp_path, commissioned=False)
    bench.request("commission")
    bench.feed(16)
    [job] = bench.jobs
    if content is not None:
        (job.folder / "baseline.safetensors").write_bytes(content)
    job.end(CommissioningResult(16, 5, 16.0))
    bench.tick()
    assert bench.kinds() == ["commissioned"]
    status = bench.controller.status()
    assert (status.commissioned, status.failed, status.phase) == (False, 1, "idle")


def test_commissions_itself_when_the_configuration_says_so(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False, automatic=True)
    bench.feed(17)
    assert [job.request.kind for job in bench.jobs] == ["commission"]
    assert bench.controller.is_baseline_under_way()


def fails_to_commission_for_good(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False, automatic=True, cooldown_s=2)
    bench.feed(17)
    bench.jobs[0].fail("nothing in it can be recalibrated", is_lasting=True)
    bench.feed(60)
    return bench


def test_what_cannot_succeed_is_told_once_and_not_tried_again(tmp_path):
    bench = fails_to_commission_for_good(tmp_path)
    assert len(bench.jobs) == 1
    assert bench.events == [
        TaskFailed("commission", "nothing in it can be recalibrated", "first start", is_lasting=True)
    ]
    assert bench.controller.status().not_possible == {"commission": "nothing in it can be recalibrated"}
    assert bench.controller.status().failed == 1


def test_another_configuration_is_reason_to_try_again(tmp_path):
    bench = fails_to_commission_for_good(tmp_path)
    settings = bench.settings.model_copy(update={"memory_mib": 4096})
    bench.controller.reconfigure(bench.settings, bench.drift)
    bench.feed(20)
    assert len(bench.jobs) == 1
    bench.controller.reconfigure(settings, bench.drift)
    bench.feed(20)
    assert len(bench.jobs) == 2
    assert bench.controller.status().not_possible == {}


def test_a_command_is_reason_to_try_again_and_success_ends_the_matter(tmp_path):
    bench = fails_to_commission_for_good(tmp_path)
    bench.commission()
    assert bench.controller.status().commissioned is True
    assert bench.controller.status().not_possible == {}


def test_a_failure_that_may_pass_is_tried_again(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False, automatic=True, cooldown_s=2)
    bench.feed(17)
    bench.jobs[0].fail("every frame is of one colour")
    bench.feed(20)
    assert len(bench.jobs) == 2
    assert bench.controller.status().not_possible == {}


@pytest.mark.parametrize("cause", ["schedule", "drift"])
def test_a_model_that_cannot_be_recalibrated_is_not_tried_again_by_schedule_or_drift(tmp_path, cause):
    bench = ControllerBench(tmp_path, cooldown_s=2, schedule_due=1001.0 if cause == "schedule" else None)
    if cause == "drift":
        bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.jobs[0].fail("needs more memory", is_lasting=True)
    bench.due = 1012.0
    bench.feed(30)
    assert len(bench.jobs) == 1
    assert bench.controller.status().not_possible == {"recalibrate": "needs more memory"}
    assert bench.request("recalibrate")["begun"] == "recalibrate"


def test_a_drift_alarm_leads_to_a_patch_and_a_hot_swap(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    assert bench.kinds() == ["drift", "recalibration"]
    assert bench.slot.generation == Generation("parts/1", "p1")
    assert ModelState.open(tmp_path, "parts").load_rollout("parts/1").active == Generation("parts/1", "p1")


def test_only_frames_of_the_drift_are_used(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.feed(10)
    bench.watch.window_began_at_s = bench.clock.now + 0.5
    bench.watch.changes = ["alarm"]
    bench.feed(7)
    assert bench.jobs == []
    bench.feed(1)
    assert len(bench.jobs[0].pixels) == 8


def test_a_refusal_by_the_gate_changes_nothing_and_says_why(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.jobs[0].end(REFUSED)
    bench.tick()
    assert bench.slot.generation == BASE
    assert bench.last_event.report.reasons == ("in doubt",)
    assert bench.controller.status().refused == 1


def test_every_recalibration_leaves_a_report_that_its_event_names(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    assert bench.last_event.report.report == "parts/p1"
    bench.tick(1000)
    bench.watch.score = 5.0
    bench.feed(2)
    bench.jobs[-1].end(REFUSED)
    bench.tick()
    assert bench.last_event.report.report == bench.controller.status().last_report["report"] == "parts/r1"
    reports = Reports(bench.model_state.folder)
    assert sorted(reports.list_ids()) == ["p1", "r1"]
    assert b"<img>" in reports.read_page("r1")


def test_a_report_made_while_pictures_were_forbidden_shows_none(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    private = bench.settings.model_copy(update={"reference": ReferenceConfig(pictures="never")})
    bench.controller.reconfigure(private, bench.drift)
    bench.jobs[0].end(REFUSED)
    bench.tick()
    assert b"<img>" not in Reports(bench.model_state.folder).read_page("r1")


def test_after_a_recalibration_it_cools_down(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.jobs[0].end(REFUSED)
    bench.tick()
    bench.feed(30)
    assert len(bench.jobs) == 1
    bench.tick(60)
    bench.feed(1)
    assert len(bench.jobs) == 2


def test_a_patch_is_not_made_again_for_the_drift_it_was_made_for(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    bench.tick(1000)
    bench.feed(20)
    assert len(bench.jobs) == 1
    bench.watch.score = 5.0  # another drift
    bench.feed(2)
    assert len(bench.jobs) == 2


def test_the_base_comes_back_when_the_drift_is_over(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    bench.watch.changes = ["returned"]
    bench.feed(1)
    assert bench.slot.generation == BASE
    assert isinstance(bench.last_event, RolledBack)


def test_rollback_by_command(tmp_path):
    bench = ControllerBench(tmp_path)
    with pytest.raises(CommandError):
        bench.request("rollback")
    bench.accept_one()
    assert bench.request("rollback") == {"generation": "parts/1"}
    assert bench.slot.generation == BASE


def test_an_engine_that_keeps_failing_is_taken_back(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    bench.slot.engine.failures = -1
    for _ in range(ENGINE_FAILURES):
        with pytest.raises(EngineError):
            answer(bench.slot, BATCH)
    bench.tick()
    assert bench.slot.generation == BASE
    assert "5 times" in bench.last_event.reason


def test_a_patched_model_that_does_not_run_changes_nothing(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.build_error = EngineError("refused")
    bench.accept_one()
    assert bench.slot.generation == BASE
    assert bench.last_event.error == "refused"
    assert ModelState.open(tmp_path, "parts").load_rollout("parts/1").active == BASE
    bench.build_error = None
    bench.tick(100)
    bench.feed(9)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert bench.slot.generation.patch is not None


def test_a_process_that_dies_is_reported_and_tried_again_later(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.jobs[0].fail("process ended with status -9")
    bench.tick()
    assert bench.last_event.error == "process ended with status -9"
    assert bench.controller.status().phase == "idle"


def test_a_full_disk_stops_the_recalibration_not_the_daemon(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.start_error = StateError("no space left")
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    assert bench.last_event.error == "no space left"
    assert bench.controller.status().phase == "idle"


def test_the_schedule_starts_a_recalibration_once(tmp_path):
    bench = ControllerBench(tmp_path, schedule_due=1020.0)
    bench.feed(12)
    assert bench.jobs == []
    bench.due = 90_000.0
    bench.feed(10)
    assert [job.request.cause for job in bench.jobs] == ["schedule"]


def test_a_second_request_while_one_runs_is_refused(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.request("recalibrate")
    with pytest.raises(CommandError, match="collecting"):
        bench.request("recalibrate")


def test_a_recalibration_while_the_first_baseline_is_recorded_is_refused_with_what_is_under_way(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False)
    bench.request("commission")
    with pytest.raises(CommandError, match="collecting"):
        bench.request("recalibrate")


def test_too_few_frames_in_time_end_the_task(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.request("recalibrate")
    bench.tick(10_000)
    assert "0 " in bench.last_event.error
    assert bench.controller.status().phase == "idle"


def test_stopping_ends_a_running_job(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.controller.stop(timeout_s=1.0)
    assert bench.jobs[0].is_killed


@pytest.mark.parametrize("verb", ["recalibrate", "commission"])
@pytest.mark.parametrize("frames", [2, 20])
def test_a_task_under_way_when_the_model_is_replaced_ends_with_an_event(tmp_path, verb, frames):
    bench = ControllerBench(tmp_path)
    bench.request(verb)
    bench.feed(frames)
    unanswered = bench.controller.request(TaskRequest("rollback"))
    bench.controller.stop(1.0, replaced="parts/2 answers now")
    assert bench.last_event == TaskFailed(
        verb, "given up, nothing was changed: parts/2 answers now", Cause.COMMAND, is_lasting=False
    )
    assert bench.controller.status().phase == "idle"
    assert all(job.is_killed for job in bench.jobs)
    with pytest.raises(CommandError, match="parts/2"):
        unanswered.result(timeout=0)


def test_the_end_of_the_daemon_or_an_idle_model_is_no_failed_task(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.controller.stop(1.0, replaced="parts/2 answers now")
    assert bench.events == []
    bench = ControllerBench(tmp_path)
    bench.request("recalibrate")
    bench.controller.stop(1.0)
    assert bench.events == []


def test_new_settings_count_from_the_next_round(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.controller.reconfigure(RecalibrationConfig(on_drift=False), DriftConfig(sample_every_s=0.1))
    bench.watch.changes = ["alarm"]
    bench.feed(20)
    assert bench.jobs == []
    assert bench.kinds() == ["drift"]


def test_a_drift_that_makes_the_model_see_one_class_still_fills_the_reference(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=True, min_frames=8)
    bench.feed(40)  # a full reservoir, four classes
    bench.watch.window_began_at_s = bench.clock.now + 0.5
    bench.watch.changes = ["alarm"]
    bench.controller.reconfigure(
        RecalibrationConfig(reference=ReferenceConfig(frames=24, reservoir=32), min_frames=8),
        DriftConfig(sample_every_s=0.1),
    )
    bench.feed(24, label=0)
    assert len(bench.jobs[0].pixels) == 24


def test_a_patch_made_before_any_score_does_not_stop_the_loop(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.score = 0.0
    bench.feed(8)
    bench.request("recalibrate")
    bench.feed(1)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert bench.slot.generation.patch == "p1"
    bench.watch.score, bench.watch.changes = 3.0, ["alarm"]
    bench.tick(1000)
    bench.feed(9)
    assert len(bench.jobs) == 2


def test_what_an_operator_rolled_back_does_not_come_back_by_itself_in_the_same_drift(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    bench.request("rollback")
    bench.tick(1000)
    bench.feed(20)
    assert len(bench.jobs) == 1
    bench.watch.changes = ["returned", "alarm"]  # another drift
    bench.feed(10)
    assert len(bench.jobs) == 2


def test_a_drift_that_ended_while_the_process_worked_leaves_no_patch(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.watch.changes = ["returned"]
    bench.feed(1)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    bench.watch.is_quiet = True
    bench.feed(1)
    assert bench.slot.generation == BASE


def restarted(bench, tmp_path):
    """The same box after a restart: its record on disk, a new slot and watch."""
    return ControllerBench(tmp_path, rollout=bench.model_state.load_rollout("parts/1"), clock=bench.clock)


def test_a_drift_that_ended_while_the_daemon_was_down_leaves_no_patch(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    again = restarted(bench, tmp_path)
    again.feed(3)
    assert again.slot.generation.patch == "p1"
    again.watch.is_quiet = True
    again.feed(1)
    assert again.slot.generation == BASE
    assert again.model_state.load_rollout("parts/1").active == BASE


def test_a_drift_that_lasts_over_a_restart_keeps_its_patch(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    again = restarted(bench, tmp_path)
    again.watch.changes = ["alarm"]
    again.feed(3)
    assert again.slot.generation.patch == "p1"


def test_a_drift_that_a_patch_corrects_is_no_alarm_however_long_it_lasts(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    bench.watch.changes = ["alarm"] * 3
    bench.feed(3)
    status = bench.controller.status()
    assert bench.kinds() == ["drift", "recalibration"]
    assert (status.alarms, status.corrected_by, status.concern) == (1, "p1", None)
    bench.watch.score, bench.watch.changes = 5.0, ["alarm"]  # it has become another one
    bench.feed(1)
    assert bench.kinds() == ["drift", "recalibration", "drift"]
    assert bench.controller.status().corrected_by is None


def test_after_a_restart_a_patch_that_still_corrects_its_drift_raises_no_alarm(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    again = restarted(bench, tmp_path)
    again.watch.known_drift, again.watch.changes = "p1", ["alarm"]
    again.feed(1)
    assert again.events == []
    assert again.controller.status().corrected_by == "p1"


@pytest.mark.parametrize(("nearer_to", "patch"), [("p1", "p1"), (None, None), ("p2", None)])
def test_after_a_restart_a_patch_of_a_slow_drift_stays_while_the_camera_shows_that_drift(
    tmp_path, nearer_to, patch
):
    """The score of a slow drift is low; only its sum alarms, and that begins at 0."""
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    again = restarted(bench, tmp_path)
    again.watch.is_quiet, again.watch.nearer_to = True, nearer_to
    again.feed(2)
    assert again.slot.generation.patch == patch


def test_what_was_rolled_back_is_not_made_again_after_a_restart(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    bench.request("rollback")
    again = restarted(bench, tmp_path)
    again.watch.known_drift, again.watch.changes = "p1", ["alarm"]
    again.tick(1000)
    again.feed(20)
    assert again.jobs == []
    assert "rolled back" in again.controller.status().concern
    again.request("recalibrate")
    again.feed(9)
    assert len(again.jobs) == 1


def fast(bench):
    bench.watch.changes = ["alarm"]
    bench.feed(1)


def cooling(bench):
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.jobs[0].end(REFUSED)
    bench.tick()


def rolled_back(bench):
    bench.accept_one()
    bench.request("rollback")


def expired(bench):
    bench.controller._baselines.usable = {}
    bench.watch.changes = ["alarm"]
    bench.feed(1)


def quiet(bench):
    bench.feed(1)


@pytest.mark.parametrize(
    ("settings", "do", "words"),
    [
        ({}, quiet, None),
        ({}, fast, None),
        ({}, cooling, "60 s"),
        ({}, rolled_back, "rolled back"),
        ({}, expired, "no baseline"),
        ({"enabled": False}, fast, "recalibration.enabled is false"),
        ({"on_drift": False}, fast, "recalibration.on_drift is false"),
        ({"commissioned": False}, quiet, "there is no baseline"),
        ({"commissioned": False, "enabled": False}, quiet, None),
        ({"commissioned": False, "automatic": True}, quiet, "not watched yet"),
        ({}, ControllerBench.accept_one, None),
    ],
)
def test_it_says_why_drift_is_not_watched_or_not_corrected(tmp_path, settings, do, words):
    bench = ControllerBench(tmp_path, **settings)
    do(bench)
    concern = bench.controller.concern()
    assert (concern is None) is (words is None)
    assert bench.controller.is_baseline_under_way() is (words == "not watched yet")
    assert concern is None or words in concern


@pytest.mark.parametrize("damage", ["baseline", "probe"])
def test_what_was_recorded_and_cannot_be_used_is_said_and_not_replaced_by_itself(tmp_path, damage):
    """What the camera shows now may be the drift."""
    state = ControllerBench(tmp_path).model_state
    if damage == "baseline":
        (state.baselines / "default.safetensors").write_bytes(b"garbage")
    bench = ControllerBench(tmp_path, automatic=True)
    if damage == "probe":
        bench.watch.open = refuse_probe
        bench.controller._baselines.reopen(bench.drift)
    before = (state.baselines / "default.safetensors").read_bytes()
    bench.feed(40)
    assert bench.jobs == []
    assert "baseline default: " in bench.controller.concern()
    assert (state.baselines / "default.safetensors").read_bytes() == before
    bench.request("commission")
    bench.feed(16)
    assert len(bench.jobs) == 1


def refuse_probe(*_):
    raise EngineError("no model")


def test_when_the_previous_patch_is_damaged_rolling_back_leads_to_the_base(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    bench.watch.score = 9.0
    bench.tick(1000)
    bench.feed(9)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert bench.slot.generation.patch == "p2"
    (bench.model_state.patches / "p1" / "model.onnx").write_bytes(b"damaged")
    assert bench.request("rollback") == {"generation": "parts/1"}


def test_turned_off_drift_is_still_measured_and_nothing_is_patched(tmp_path):
    bench = ControllerBench(tmp_path, enabled=False)
    bench.watch.changes = ["alarm"]
    bench.feed(20)
    assert bench.kinds() == ["drift"]
    assert bench.jobs == []
    with pytest.raises(CommandError):
        bench.request("recalibrate")


def test_the_schedule_does_not_come_again_after_a_restart(tmp_path):
    bench = ControllerBench(tmp_path, schedule_due=1020.0)
    bench.feed(30)
    assert len(bench.jobs) == 1
    again = ControllerBench(tmp_path, schedule_due=1020.0)
    again.feed(30)
    assert again.jobs == []
    assert again.model_state.load_slots() == [1020.0]


def test_a_schedule_that_came_due_before_commissioning_waits_for_its_next_time(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False, schedule_due=1010.0)
    bench.request("commission")
    bench.feed(20)
    bench.due = 90_000.0
    [job] = bench.jobs
    a_baseline().save(job.folder / "baseline.safetensors")
    (job.folder / "probe.onnx").write_bytes(b"probe")
    job.end(CommissioningResult(16, 5, 16.0))
    bench.feed(20)
    assert len(bench.jobs) == 1


def test_stopping_frees_the_watch(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.controller.stop(timeout_s=1.0)
    assert not bench.watch.is_open


def test_a_restart_begins_with_the_reservoir_it_ended_with(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.reference.open()
    bench.feed(30)
    bench.controller.stop(timeout_s=1.0)
    again = restarted(bench, tmp_path)
    again.reference.open()
    assert again.controller.status().reservoir.frames == 30
    again.request("recalibrate")
    assert len(again.jobs[0].pixels) == 8


def test_commissioning_never_uses_what_an_earlier_run_kept(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.reference.open()
    bench.feed(30)
    bench.controller.stop(timeout_s=1.0)
    bench.store.remove("default")
    bench.clock.now += 1
    again = ControllerBench(tmp_path, commissioned=False, automatic=True, clock=bench.clock)
    again.reference.open()
    again.feed(15)
    assert again.jobs == []
    again.feed(2)
    assert len(again.jobs[0].pixels) == 16


def test_a_scheduled_recalibration_uses_frames_of_the_whole_time_and_all_classes(tmp_path):
    bench = ControllerBench(tmp_path, schedule_due=1100.5)
    seen = {}
    for i in range(101):
        bench.feed(1, label=1 if i in (3, 40, 80, 90) else 0)
        pixels = np.random.default_rng(bench.seq - 1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        seen[pixels.tobytes()] = i
    [job] = bench.jobs
    chosen = sorted(seen[picture.tobytes()] for picture in job.pixels)
    assert {3, 40, 80, 90} < set(chosen)
    others = sorted(set(chosen) - {3, 40, 80, 90})
    assert others[0] <= 10
    assert others[-1] >= 90


def test_an_alarm_parts_what_was_seen_before_it_from_what_is_seen_now(tmp_path):
    bench = ControllerBench(tmp_path, on_drift=False)
    bench.feed(20)
    bench.watch.window_began_at_s = bench.clock.now - 3.5
    bench.watch.changes = ["alarm"]
    bench.feed(1)
    assert bench.controller.status().reservoir.frames == 5
    bench.feed(10)
    bench.watch.window_began_at_s = bench.clock.now + 0.5
    bench.watch.changes = ["returned"]
    bench.feed(1)
    assert bench.controller.status().reservoir.frames == 1


def test_where_no_picture_may_be_kept_a_recalibration_waits_for_new_ones(tmp_path):
    bench = ControllerBench(tmp_path, reference={"pictures": "never"})
    bench.reference.open()
    bench.feed(20)
    assert bench.request("recalibrate")["frames_wanted"] == 8
    bench.feed(7)
    assert bench.jobs == []
    bench.feed(1)
    assert len(bench.jobs[0].pixels) == 8
    assert bench.jobs[0].request.keep_pictures is False
    assert len(bench.jobs[0].request.further_input) == 20  # of those before, the moments
    bench.controller.stop(timeout_s=1.0)
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    pictures = [np.random.default_rng(seq).integers(0, 256, (8, 8, 3), dtype=np.uint8) for seq in range(28)]
    assert not any(picture.tobytes()[:16] in content for picture in pictures)
    assert list(tmp_path.rglob("*.png")) == []
    assert all(one.values is None for one in bench.reference._reservoir.entries)


def test_more_frames_than_fit_are_not_waited_for(tmp_path):
    bench = ControllerBench(
        tmp_path, reference={"frames": 24, "reservoir": 2048, "reservoir_mib": 1}, min_frames=8
    )
    bench.feed(3)
    assert bench.request("recalibrate", frames=2000)["frames_wanted"] == 2**20 // (8 * 8 * 3 + 1024)


def test_the_status_has_the_names_that_people_and_machines_know(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.accept_one()
    status = asdict(bench.controller.status())
    assert list(status) == [
        "phase", "task", "progress", "commissioned", "generation", "previous", "autonomy", "proposal", "shadow",
        "drift", "baselines", "corrected_by", "concern", "reservoir", "skipped", "not_possible", "sampled",
        "recalibrations", "accepted", "refused", "failed", "alarms", "rollbacks", "last_report",
    ]  # fmt: skip
    assert list(status["drift"]) == [
        "ready", "score", "threshold", "cusum", "cusum_threshold", "drifted", "verdict", "sign", "answers_score",
        "frames",
    ]  # fmt: skip
    assert list(status["reservoir"]) == [
        "frames", "most", "mib", "classes", "pictures", "on_disk", "restored", "unsaved", "dropped_on_disk", "problem",
        "skipped",
    ]  # fmt: skip
    assert status["baselines"]["default"].keys() == {"in_use", "is_expired", "score", "threshold"}
    assert (status["phase"], status["previous"]) == ("idle", "parts/1")
    assert status["last_report"]["report"] == "parts/p1"


def test_before_the_first_frame_the_status_has_the_four_figures_that_are_known(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.figures = lambda: None
    assert asdict(bench.controller.status())["drift"] == {
        "ready": False, "score": 0.0, "threshold": 1.0, "verdict": "healthy"
    }  # fmt: skip
