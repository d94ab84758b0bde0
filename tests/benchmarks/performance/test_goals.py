"""What was measured, and what was asked for."""

from datetime import UTC, datetime

import orjson
import pytest

from benchmarks.goals import goals_of
from benchmarks.performance.daemon.arrival import ages_ms
from benchmarks.performance.goals import MEASURES, verdicts
from benchmarks.performance.page import page
from benchmarks.performance.peers import comparison

ONE_STREAM = next(goal.what for goal in goals_of("performance") if goal.key == "one_folder_over_peer_1")


def peer_round(mosec: float, litserve: float, own: float) -> dict[str, object]:
    def figures(frames_per_s: float, pss_mib: float, first_result_s: float) -> dict[str, float]:
        return {"frames_per_s": frames_per_s, "pss_mib": pss_mib, "first_result_s": first_result_s}

    contenders = {
        comparison.PEERS[0].name: {n: figures(mosec, 300.0, 1.0) for n in ("1", "2")},
        comparison.PEERS[2].name: {n: figures(litserve, 200.0, 2.0) for n in ("1", "2")},
        comparison.PEERS[3].name: {n: {"error": "did not start"} for n in ("1", "2")},
        comparison.FOLDER: {n: figures(own, 100.0, 0.5) for n in ("1", "2")},
        comparison.MQTT: {n: figures(own, 100.0, 0.5) for n in ("1", "2")},
        comparison.LOOP: {n: figures(own, 90.0, 0.5) for n in ("1", "2")},
    }
    return {"capacity": 1.9, "capacity_after": 1.2, "contenders": contenders}


def found(parts: dict[str, object]) -> dict[str, tuple[str, bool | None]]:
    return {one.goal.key: (one.measured, one.is_met) for one in verdicts(parts)}


def test_every_goal_has_a_measure_and_a_limit() -> None:
    goals = goals_of("performance")
    assert [goal.key for goal in goals] == list(MEASURES)
    assert all((goal.least is None) != (goal.most is None) for goal in goals)


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert len(found({})) == len(MEASURES)
    assert set(found({}).values()) == {("not measured", None)}


def test_compares_with_the_best_peer_of_each_round() -> None:
    parts = {"peers": {"rounds": [peer_round(50, 40, 70), peer_round(40, 100, 130), peer_round(50, 10, 60)]}}
    assert found(parts)["one_folder_over_peer_1"] == (
        "1.30 (1.20 to 1.40)",
        True,
    )


def test_a_stream_with_two_pictures_under_way_is_compared_with_two_requests_too() -> None:
    one = peer_round(50, 40, 70)
    one["contenders"][comparison.PEERS[0].name]["2"]["frames_per_s"] = 100.0
    rows = found({"peers": {"rounds": [one]}})
    assert rows["one_folder_over_peer_1"] == ("1.40", True)
    assert rows["one_folder_over_peer_2"] == ("0.70", False)


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
    report = {"pictures": "4 golden pictures", "callers": 1, "workers": 2, "summary": {}}
    text = page({"one stream": {"rounds": [{"capacity": 1.9, "report": report}]}}, {})
    assert "a caller a stream (1); the daemon gives a lone stream all of its workers (2, decision 11)" in text


def test_memory_is_that_of_the_fastest_peer_and_of_the_smallest() -> None:
    one = found({"peers": {"rounds": [peer_round(50, 40, 70)]}})
    assert one["memory_over_fastest_peer"] == ("0.33", True)
    assert one["memory_over_smallest_peer"] == ("0.50", True)


def test_a_part_that_is_unavailable_is_not_measured() -> None:
    one = found(
        {"quota": {"unavailable": "no control groups"}, "int8": {"unavailable": "torch is not installed"}}
    )
    assert one["quota_threads"] == ("not measured", None)
    assert one["int8_speed"] == ("not measured", None)


def test_the_page_names_missed_goals_and_weak_rounds() -> None:
    text = page({"peers": {"rounds": [peer_round(50, 40, 51)]}}, {"machine": "a box"})
    assert f"| {ONE_STREAM} | >= 1.3 | 1.02 | **missed** |" in text
    assert f"- {ONE_STREAM}: frames/s of engine and picture code" in text
    assert "**Below 1.5 in round 1" in text
    assert "MLServer, 2 threads | not measured | not measured" in text
