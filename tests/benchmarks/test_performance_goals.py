"""performance_goals: what was measured beside what was asked for."""

from benchmarks import peers
from benchmarks.performance_goals import GOALS, verdicts
from benchmarks.performance_page import page


def peer_round(mosec: float, litserve: float, own: float) -> dict[str, object]:
    def figures(frames_per_s: float, pss_mib: float, first_result_s: float) -> dict[str, float]:
        return {"frames_per_s": frames_per_s, "pss_mib": pss_mib, "first_result_s": first_result_s}

    contenders = {
        peers.PEERS[0].name: {n: figures(mosec, 300.0, 1.0) for n in ("1", "2")},
        peers.PEERS[2].name: {n: figures(litserve, 200.0, 2.0) for n in ("1", "2")},
        peers.PEERS[3].name: {n: {"error": "did not start"} for n in ("1", "2")},
        peers.FOLDER: {n: figures(own, 100.0, 0.5) for n in ("1", "2")},
        peers.MQTT: {n: figures(own, 100.0, 0.5) for n in ("1", "2")},
        peers.LOOP: {n: figures(own, 90.0, 0.5) for n in ("1", "2")},
    }
    return {"capacity": 1.9, "capacity_after": 1.2, "contenders": contenders}


def found(parts: dict[str, object]) -> dict[str, tuple[str, bool | None]]:
    return {one.goal.what: (one.measured, one.is_met) for one in verdicts(parts)}


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    assert len(found({})) == len(GOALS)
    assert set(found({}).values()) == {("not measured", None)}


def test_compares_with_the_best_peer_of_each_round() -> None:
    parts = {"peers": {"rounds": [peer_round(50, 40, 70), peer_round(40, 100, 130), peer_round(50, 10, 60)]}}
    assert found(parts)["frames/s over the best peer, 1 stream, from a folder"] == (
        "1.30 (1.20 to 1.40)",
        True,
    )


def test_memory_is_that_of_the_fastest_peer_and_of_the_smallest() -> None:
    one = found({"peers": {"rounds": [peer_round(50, 40, 70)]}})
    assert one["memory over the fastest peer, 2 streams"] == ("0.33", True)
    assert one["memory over the smallest peer, 2 streams"] == ("0.50", True)


def test_a_part_that_is_unavailable_is_not_measured() -> None:
    one = found(
        {"quota": {"unavailable": "no control groups"}, "int8": {"unavailable": "torch is not installed"}}
    )
    assert one["quota of one CPU: p99, threads auto over the best by hand"] == ("not measured", None)
    assert one["int8 over float speed (CPU time), ONNX Runtime"] == ("not measured", None)


def test_the_page_names_missed_goals_and_weak_rounds() -> None:
    text = page({"peers": {"rounds": [peer_round(50, 40, 51)]}}, {"machine": "a box"})
    assert "| frames/s over the best peer, 1 stream, from a folder | >= 1.3 | 1.02 | **missed** |" in text
    assert (
        "- frames/s over the best peer, 1 stream, from a folder: frames/s of engine and picture code" in text
    )
    assert "**Below 1.5 in round 1" in text
    assert "MLServer, 2 threads | not measured | not measured" in text
