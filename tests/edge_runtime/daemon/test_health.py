from dataclasses import replace

from edge_runtime.daemon.health import (
    ERRORS_IN_A_ROW,
    EngineFacts,
    Facts,
    Health,
    SourceFacts,
    WatchdogFeeder,
    assess,
)

ENGINE = EngineFacts("parts", last_progress_at_s=99.9, due_since_s=None)
CAMERA = SourceFacts("belt", started_at_s=0, last_frame_at_s=99.9, allowed_silence_s=5, may_idle=False)
GOOD = Facts(engines=(ENGINE,), sources=(CAMERA,), broker_connected=True, free_disk_mib=1000)
NOW_S = 100.0


def judge(**edits: object) -> Health:
    return assess(replace(GOOD, **edits), NOW_S)  # type: ignore[arg-type]


def test_all_well() -> None:
    assert judge() == Health(live=True, ready=True)


def test_a_batch_that_never_comes_back_is_death() -> None:
    verdict = judge(engines=(replace(ENGINE, due_since_s=70.0, last_progress_at_s=69.0),))
    assert not verdict.live
    assert not verdict.ready
    assert "30 s" in verdict.reasons[0]


def test_a_long_queue_that_moves_is_life() -> None:
    assert judge(engines=(replace(ENGINE, due_since_s=10.0, last_progress_at_s=99.0),)).live


def test_an_idle_engine_is_alive_for_ever() -> None:
    assert judge(engines=(replace(ENGINE, last_progress_at_s=None, due_since_s=None),)).live


def test_a_thread_that_fails_again_and_again_is_a_note() -> None:
    verdict = judge(thread_failures={"recalibration-parts": 3, "http": 2})
    assert verdict.live
    assert verdict.ready
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["thread recalibration-parts"]


def test_not_ready_before_any_model() -> None:
    assert not judge(engines=()).ready


def test_not_ready_before_the_first_frame_nor_when_the_only_camera_is_silent() -> None:
    fresh = judge(sources=(replace(CAMERA, started_at_s=99, last_frame_at_s=None),))
    silent = judge(sources=(replace(CAMERA, last_frame_at_s=90, problem="stalled"),))
    assert not fresh.ready
    assert not silent.ready
    assert silent.live
    assert silent.reasons == ("source belt: no frame for 10.0 s (stalled)",)


def test_one_dead_camera_of_two_is_a_note() -> None:
    dead = replace(CAMERA, stream="side", last_frame_at_s=10)
    verdict = judge(sources=(CAMERA, dead))
    assert verdict.ready
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["source side"]


def test_what_may_idle_or_is_finished_is_never_silent() -> None:
    idle = replace(CAMERA, last_frame_at_s=None, may_idle=True)
    finished = replace(CAMERA, stream="clip", last_frame_at_s=1, is_finished=True)
    assert judge(sources=(idle, finished)).ready


def test_what_may_idle_and_was_never_there_is_noted() -> None:
    gone = replace(CAMERA, last_frame_at_s=None, may_idle=True, problem="/pictures does not exist")
    verdict = judge(sources=(gone,))
    assert verdict.ready
    assert verdict.reasons == ("source belt: no frame yet (/pictures does not exist)",)
    assert judge(sources=(replace(gone, last_frame_at_s=50.0),)).reasons == ()


def test_a_broker_that_is_away_a_full_disk_and_a_refused_edit_are_notes() -> None:
    verdict = judge(
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


def test_errors_in_a_row_make_it_unready() -> None:
    assert not judge(engines=(replace(ENGINE, errors_in_a_row=ERRORS_IN_A_ROW),)).ready


def test_stopping_is_not_ready_and_the_gravest_reason_comes_first() -> None:
    verdict = judge(is_stopping=True, broker_connected=False)
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
