from dataclasses import replace
from typing import Any

import pytest

from edge_runtime.daemon.health import (
    ERRORS_IN_A_ROW,
    EngineFacts,
    Facts,
    Finding,
    Health,
    HealthLog,
    SourceFacts,
    WatchdogFeeder,
    Weight,
    find,
    judge,
)

ENGINE = EngineFacts("parts", last_progress_at_s=99.9, due_since_s=None)
CAMERA = SourceFacts("belt", started_at_s=0, last_frame_at_s=99.9, allowed_silence_s=5, may_idle=False)
GOOD = Facts(engines=(ENGINE,), sources=(CAMERA,), broker_connected=True, free_disk_mib=1000)
NOW_S = 100.0


def assess(**edits: object) -> Health:
    return judge(find(replace(GOOD, **edits), NOW_S))  # type: ignore[arg-type]


def test_all_well() -> None:
    assert assess() == Health(live=True, ready=True)


def test_a_batch_that_never_comes_back_is_death() -> None:
    verdict = assess(engines=(replace(ENGINE, due_since_s=70.0, last_progress_at_s=69.0),))
    assert not verdict.live
    assert not verdict.ready
    assert "30 s" in verdict.reasons[0]


def test_a_long_queue_that_moves_is_life() -> None:
    assert assess(engines=(replace(ENGINE, due_since_s=10.0, last_progress_at_s=99.0),)).live


def test_an_idle_engine_is_alive_for_ever() -> None:
    assert assess(engines=(replace(ENGINE, last_progress_at_s=None, due_since_s=None),)).live


def test_a_thread_that_fails_again_and_again_is_a_note() -> None:
    verdict = assess(thread_failures={"recalibration-parts": 3, "http": 2})
    assert verdict.live
    assert verdict.ready
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["thread recalibration-parts"]


def test_a_certificate_that_expires_is_a_note() -> None:
    verdict = assess(certificate="expires on 2026-12-08")
    assert verdict.ready
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["certificate"]


def test_not_ready_before_any_model() -> None:
    assert not assess(engines=()).ready


def test_not_ready_before_the_first_frame_nor_when_the_only_camera_is_silent() -> None:
    fresh = assess(sources=(replace(CAMERA, started_at_s=99, last_frame_at_s=None),))
    silent = assess(sources=(replace(CAMERA, last_frame_at_s=90, problem="stalled"),))
    assert not fresh.ready
    assert not silent.ready
    assert silent.live
    assert silent.reasons == ("source belt: no frame for 10.0 s (stalled)",)


def test_one_dead_camera_of_two_is_a_note() -> None:
    dead = replace(CAMERA, stream="side", last_frame_at_s=10)
    verdict = assess(sources=(CAMERA, dead))
    assert verdict.ready
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["source side"]


FINE = {"last_frame_at_s": 99.9, "may_idle": False}
REJECTING = {**FINE, "rejected_in_a_row": 5, "last_rejection": "bad_output"}
SILENT = {"last_frame_at_s": 10.0, "may_idle": False}
IDLE = {"last_frame_at_s": None, "may_idle": True}
FINISHED = {"last_frame_at_s": 1.0, "may_idle": False, "is_finished": True}
STUCK = {**FINE, "unanswered_since_s": 60.0}
LONG_AGO = {"last_frame_at_s": 10.0, "may_idle": True}


@pytest.mark.parametrize(
    ("sources", "is_ready", "mute"),
    [
        ([FINE], True, ""),
        ([REJECTING], False, "a"),
        ([{**REJECTING, "may_idle": True}], False, "a"),
        ([{**REJECTING, "rejected_in_a_row": 4}], True, ""),
        ([REJECTING, FINE], True, "a"),
        ([REJECTING, SILENT], False, "ab"),
        ([SILENT, IDLE], False, "a"),  # a folder that waits gives no results either
        ([SILENT, FINISHED], False, "a"),
        ([SILENT, {**IDLE, "last_frame_at_s": 99.0}], False, "a"),
        ([IDLE, FINISHED], True, ""),
        ([STUCK], False, "a"),
        ([STUCK, FINE], True, "a"),
        ([{**STUCK, "unanswered_since_s": 75.0}], True, ""),
        ([{**STUCK, "may_idle": True}, IDLE], False, "a"),
        ([SILENT, SILENT, FINE], True, "ab"),
        ([{**REJECTING, **LONG_AGO}], True, "a"),  # the last pictures of a folder were bad: a note
        ([{**STUCK, **LONG_AGO, "unanswered_since_s": 9.0}], True, ""),  # one that was lost long ago
        ([{**FINE, "unanswered_since_s": 99.0}], True, ""),
    ],
)
def test_ready_means_that_some_stream_that_owes_results_gives_them(
    sources: list[dict[str, Any]], is_ready: bool, mute: str
) -> None:
    facts = tuple(replace(CAMERA, stream="abc"[i], **one) for i, one in enumerate(sources))
    verdict = assess(sources=facts)
    assert verdict.ready is is_ready
    assert "".join(reason.split(":")[0].removeprefix("source ") for reason in verdict.reasons) == mute


def test_a_rejecting_stream_says_what_is_wrong() -> None:
    (reason,) = assess(sources=(replace(CAMERA, **REJECTING),)).reasons
    assert "bad_output" in reason
    assert "5" in reason


def test_a_version_that_the_next_start_does_not_open_is_a_note() -> None:
    verdict = assess(distrusted={"parts": "parts/1 is unsigned"})
    assert verdict.ready
    assert verdict.reasons == ("trust parts: parts/1 is unsigned",)


def test_a_version_that_answers_untried_is_a_note():
    verdict = assess(untried={"parts": "version 3 answers without a trial"})
    assert (verdict.ready, verdict.reasons) == (True, ("version parts: version 3 answers without a trial",))


def test_a_model_that_is_not_watched_or_not_corrected_is_a_note() -> None:
    verdict = assess(calibration={"parts": "no baseline"})
    assert verdict.ready
    assert verdict.reasons == ("calibration parts: no baseline",)


def test_a_stream_whose_frames_are_in_doubt_is_ready_with_a_note() -> None:
    verdict = assess(sources=(replace(CAMERA, doubt="200 samples a second come"),))
    assert verdict.ready
    assert verdict.reasons == ("source belt: 200 samples a second come",)


def test_what_may_idle_or_is_finished_is_never_silent() -> None:
    idle = replace(CAMERA, last_frame_at_s=None, may_idle=True)
    finished = replace(CAMERA, stream="clip", last_frame_at_s=1, is_finished=True)
    assert assess(sources=(idle, finished)).ready


def test_what_may_idle_and_was_never_there_is_noted() -> None:
    gone = replace(CAMERA, last_frame_at_s=None, may_idle=True, problem="/pictures does not exist")
    verdict = assess(sources=(gone,))
    assert verdict.ready
    assert verdict.reasons == ("source belt: no frame yet (/pictures does not exist)",)
    assert assess(sources=(replace(gone, last_frame_at_s=50.0),)).reasons == ()


def test_a_broker_that_is_away_a_full_disk_and_a_refused_edit_are_notes() -> None:
    verdict = assess(
        broker_connected=False,
        broker_problem="refused",
        outbox_pending=12,
        outbox_writable=False,
        results_lost=3,
        free_disk_mib=1,
        config_problem="line 3: unknown key",
    )
    assert verdict.ready
    text = "\n".join(verdict.reasons)
    assert all(word in text for word in ("refused", "12 results", "3 results lost", "1 MiB", "line 3"))


def test_safe_mode_is_live_and_not_ready_and_says_why_once() -> None:
    verdict = assess(
        engines=(), sources=(), safe_mode="line 3: unknown key", config_problem="line 3: unknown key"
    )
    assert (verdict.live, verdict.ready) == (True, False)
    assert verdict.reasons == ("configuration: safe mode: line 3: unknown key",)


def test_errors_in_a_row_make_it_unready() -> None:
    assert not assess(engines=(replace(ENGINE, errors_in_a_row=ERRORS_IN_A_ROW),)).ready


def test_stopping_is_not_ready_and_the_gravest_reason_comes_first() -> None:
    verdict = assess(is_stopping=True, broker_connected=False)
    assert not verdict.ready
    assert verdict.reasons[0] == "daemon: is stopping"


def feedings(steps: list[tuple[float, float | None, float | None]]) -> list[bool]:
    """Each step: now, last progress, due since."""
    feeder = WatchdogFeeder(watchdog_s=10)
    return [
        feeder.is_due((replace(ENGINE, last_progress_at_s=progress_s, due_since_s=due_s),), now_s)
        for now_s, progress_s, due_s in steps
    ]


def test_the_watchdog_is_fed_at_half_its_time_while_inference_progresses() -> None:
    steps = [(float(t), t - 0.1, t - 0.05) for t in range(12)]
    assert [t for t, fed in enumerate(feedings(steps)) if fed] == [0, 5, 10]


def test_the_watchdog_starves_when_a_batch_hangs_and_eats_again_when_it_returns() -> None:
    stuck = [(float(t), 0.5, 1.0) for t in range(60)]
    fed = feedings([*stuck, (61.0, 60.5, 60.6)])
    assert [t for t, ate in enumerate(fed) if ate] == [0, 5, 60]


def test_the_watchdog_is_fed_when_nothing_is_due() -> None:
    assert all(feedings([(float(t), None, None) for t in range(0, 60, 5)]))


def test_one_hung_model_of_two_starves_the_watchdog() -> None:
    feeder = WatchdogFeeder(watchdog_s=10)
    hung = replace(ENGINE, model="other", last_progress_at_s=0.0, due_since_s=1.0)
    assert feeder.is_due((ENGINE, hung), 2.0)
    assert not feeder.is_due((replace(ENGINE, last_progress_at_s=99.0), hung), 50.0)


def news(looks: list[tuple[float, list[Finding]]]) -> list[tuple[float, str, str]]:
    log = HealthLog()
    return [(now_s, new.part, new.state) for now_s, found in looks for new in log.update(tuple(found), now_s)]


SILENT_CAMERA = Finding("source belt", Weight.NOTE, "no frame for 9 s")


def test_what_lasts_is_said_once_and_that_it_is_over_too() -> None:
    looks = [(float(t), [SILENT_CAMERA] if 10 <= t <= 40 else []) for t in range(0, 100, 2)]
    assert news(looks) == [(16.0, "source belt", "note"), (72.0, "source belt", "well")]


def look_at_calibration(now_s: float, *, is_commissioning: bool) -> list[Finding]:
    commissioning = frozenset({"parts"} if is_commissioning else ())
    facts = replace(GOOD, calibration={"parts": "drift is not watched"}, commissioning=commissioning)
    return [one for one in find(facts, now_s) if one.part == "calibration parts"]


def test_a_first_commissioning_is_news_only_if_it_takes_very_long() -> None:
    def watch(minutes: int) -> list[tuple[float, str, str]]:
        looks = [(float(t), look_at_calibration(t, is_commissioning=True)) for t in range(0, minutes * 60, 2)]
        return news(looks)

    assert watch(minutes=10) == []
    assert watch(minutes=16) == [(900.0, "calibration parts", "note")]


def test_a_missing_baseline_is_said_once_though_a_commissioning_begins() -> None:
    looks = [(float(t), look_at_calibration(t, is_commissioning=t > 20)) for t in range(0, 100, 2)]
    assert news(looks) == [(6.0, "calibration parts", "note")]


def test_what_comes_and_goes_is_said_once() -> None:
    looks = [(float(t), [SILENT_CAMERA] if t % 8 < 6 else []) for t in range(0, 200, 2)]
    assert news(looks) == [(8.0, "source belt", "note")]


def test_a_moment_is_no_news() -> None:
    looks = [(float(t), [SILENT_CAMERA] if t in (10, 12) else []) for t in range(0, 100, 2)]
    assert news(looks) == []


def test_what_becomes_graver_or_lighter_is_said_again() -> None:
    graver = replace(SILENT_CAMERA, weight=Weight.UNREADY)
    looks = [(float(t), [graver if 20 <= t < 30 else SILENT_CAMERA]) for t in range(0, 40, 2)]
    assert [state for _, _, state in news(looks)] == ["note", "unready", "note"]


def test_of_two_findings_about_one_part_the_gravest_counts() -> None:
    dead = Finding("engine parts", Weight.DEAD, "hangs")
    looks = [(float(t), [dead, replace(dead, weight=Weight.UNREADY)]) for t in range(0, 10, 2)]
    assert news(looks) == [(6.0, "engine parts", "dead")]


def test_a_refused_edit_has_its_own_event() -> None:
    looks = [(float(t), [Finding("configuration", Weight.NOTE, "refused")]) for t in range(0, 20, 2)]
    assert news(looks) == []


@pytest.mark.parametrize(
    ("last_result_at_s", "is_ready"),
    [(98.0, True), (94.0, False), (None, False)],
    ids=["just now", "long ago", "never"],
)
def test_messages_of_a_sensor_may_be_rejected_while_its_windows_are_answered(
    last_result_at_s: float | None, is_ready: bool
) -> None:
    sensor = replace(CAMERA, rejected_in_a_row=50, last_result_at_s=last_result_at_s, patience_s=5.0)
    assert assess(sources=(sensor,)).ready is is_ready
