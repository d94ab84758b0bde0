"""What was measured, and what was asked for."""

from datetime import UTC, datetime

import orjson
import pytest

from benchmarks.goals import goals_of
from benchmarks.performance.daemon.arrival import ages_ms
from benchmarks.performance.goals import MEASURES, verdicts
from benchmarks.performance.page import page
from benchmarks.performance.peers import comparison
from benchmarks.performance.peers import own_contenders as own

ONE_STREAM = next(goal.what for goal in goals_of("performance") if goal.key == "documented_one")


def peer_round(mosec: float, litserve: float, own_rate: float) -> dict[str, object]:
    def figures(frames_per_s: float, pss_mib: float, first_result_s: float) -> dict[str, float]:
        return {"frames_per_s": frames_per_s, "pss_mib": pss_mib, "first_result_s": first_result_s}

    contenders = {
        comparison.DOCUMENTED[0].name: {n: figures(mosec, 300.0, 1.0) for n in ("1", "2")},
        comparison.DOCUMENTED[2].name: {n: figures(litserve, 200.0, 2.0) for n in ("1", "2")},
        comparison.DOCUMENTED[3].name: {n: {"error": "did not start"} for n in ("1", "2")},
        comparison.SAME_CODE[0].name: {n: figures(2 * mosec, 250.0, 1.5) for n in ("1", "2")},
        **{
            name: {n: {**figures(own_rate, 100.0, 0.5), "cpu_ms_per_frame": 8.0} for n in ("1", "2")}
            for name in (own.FOLDER, own.MQTT, own.HTTP, own.LOOP)
        },
    }
    return {"capacity": 1.2, "contenders": contenders}


def found(parts: dict[str, object]) -> dict[str, tuple[str, bool | None]]:
    return {one.goal.key: (one.measured, one.is_met) for one in verdicts(parts)}


def test_every_goal_has_a_measure_and_a_limit() -> None:
    goals = goals_of("performance")
    assert [goal.key for goal in goals] == list(MEASURES)
    assert all((goal.least is None) != (goal.most is None) for goal in goals)


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert len(found({})) == len(MEASURES)
    assert set(found({}).values()) == {("not measured", None)}


def test_compares_with_the_best_documented_peer_of_each_round() -> None:
    parts = {"peers": {"rounds": [peer_round(50, 40, 70), peer_round(40, 100, 130), peer_round(50, 10, 80)]}}
    assert found(parts)["documented_two"] == ("1.40 (1.30 to 1.60)", False)


def test_a_stream_that_is_read_ahead_is_compared_with_two_requests() -> None:
    one = peer_round(50, 40, 80)
    one["contenders"][comparison.DOCUMENTED[0].name]["2"]["frames_per_s"] = 100.0
    rows = found({"peers": {"rounds": [one]}})
    assert rows["documented_one"] == ("0.80", False)
    assert rows["documented_mqtt_one"] == ("1.60", True)


def test_peers_with_the_daemon_s_code_are_compared_apart() -> None:
    rows = found({"peers": {"rounds": [peer_round(50, 40, 80)]}})
    assert rows["documented_two"] == ("1.60", True)
    assert rows["same_code_two"] == ("0.80", False)


def test_what_a_subscriber_sees_is_a_row_and_a_section_of_its_own() -> None:
    one = {"bare_p50_ms": 5.0, "bare_p99_ms": 6.0, "outbox_p50_ms": 7.0, "outbox_p99_ms": 8.0,
           "subscriber_p50_ms": 9.0, "subscriber_p99_ms": 10.0}  # fmt: skip
    parts = {"arrival": {"fps": 30.0, "rounds": [one]}}
    assert found(parts)["arrival_at_subscriber"] == ("2.00", False)
    text = page(parts, {})
    assert "| capture to subscriber | 9 | 10 |" in text
    assert "to the outbox 7.0 / 8.0, to the subscriber 9.0 / 10.0; the bare engine's p50 is 5.0" in text


def test_a_result_s_age_is_told_by_the_clock_of_who_gets_it() -> None:
    result = {"captured_at": "2026-11-24T10:00:00.500Z", "timings_ms": {"total": 8.5}}
    now_wall_s = datetime(2026, 11, 24, 10, 0, 0, 511_000, tzinfo=UTC).timestamp()
    assert ages_ms(orjson.dumps(result), now_wall_s) == (pytest.approx(11.0, abs=1e-3), 8.5)


def test_the_page_says_who_is_compared_with_how_many() -> None:
    report = {"inputs": "4 golden pictures", "callers": 1, "workers": 2, "summary": {}}
    text = page({"one stream": {"rounds": [{"capacity": 1.9, "report": report}]}}, {})
    assert "a caller a stream (1); the daemon gives a lone stream all of its workers (2, decision 11)" in text


def test_memory_is_that_of_the_fastest_peer_and_of_the_smallest() -> None:
    one = found({"peers": {"rounds": [peer_round(50, 40, 70)]}})
    assert one["memory_over_documented"] == ("0.33", True)
    assert one["memory_over_smallest_peer"] == ("0.50", False)


def test_a_part_that_is_unavailable_is_not_measured() -> None:
    one = found(
        {"quota": {"unavailable": "no control groups"}, "int8": {"unavailable": "torch is not installed"}}
    )
    assert one["quota_threads"] == ("not measured", None)
    assert one["int8_speed"] == ("not measured", None)


def test_the_page_names_missed_goals_and_weak_rounds() -> None:
    text = page({"peers": {"rounds": [peer_round(50, 40, 51)]}}, {"machine": "a box"})
    assert f"| {ONE_STREAM} | >= 1.5 | 1.02 | **missed** |" in text
    assert f"- {ONE_STREAM}; " in text
    assert "**Below 1.5 in round 1" in text
    assert "MLServer, 2 threads, OpenCV | not measured | not measured" in text


def test_a_straight_curve_meets_its_goal_and_a_dead_camera_that_disturbs_does_not() -> None:
    cameras = {str(n): {"cores": 0.01 + 0.03 * n, "pss_mib": 120.0 + n} for n in (1, 2, 4, 8, 16)}
    dead = {"without": {"p50_ms": 9.0, "p99_ms": 20.0}, "with": {"p50_ms": 9.0, "p99_ms": 30.0}}
    rows = found({"many cameras": {"rounds": [cameras]}, "dead camera": {"rounds": [dead]}})
    assert rows["cpu_linear"] == ("0.0%", True)
    assert rows["dead_camera"] == ("1.50", False)


def test_a_round_of_one_curve_point_has_no_line() -> None:
    parts = {"many cameras": {"rounds": [{"4": {"cores": 0.1, "pss_mib": 1.0}}]}}
    assert found(parts)["cpu_linear"] == ("not measured", None)
