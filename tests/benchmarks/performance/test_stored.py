"""Rounds that are measured one at a time."""

from pathlib import Path

from benchmarks.performance.stored import Occasion, Store

MONDAY, TUESDAY = Occasion("2026-11-30", "abc", 0.5), Occasion("2026-12-01", "def", 1.0)


def test_rounds_are_joined_and_every_run_is_remembered(tmp_path: Path) -> None:
    store = Store(tmp_path / "new")
    store.add("peers", {"versions": {"mosec": "1"}, "rounds": [{"a": 1}]}, MONDAY)
    store.add("peers", {"versions": {"mosec": "2"}, "rounds": [{"a": 2}, {"a": 3}]}, TUESDAY)
    found = store.read({"one stream": 0, "peers": 0})
    assert list(found) == ["peers"]
    assert found["peers"].found == {"versions": {"mosec": "2"}, "rounds": [{"a": 1}, {"a": 2}, {"a": 3}]}
    assert found["peers"].occasions == (MONDAY, TUESDAY)


def test_a_part_without_rounds_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add("quota", {"rounds": [1]}, MONDAY)
    store.add("quota", {"unavailable": "no control groups"}, TUESDAY)
    assert store.read({"quota": 0})["quota"].found == {"unavailable": "no control groups"}
    assert store.read({"quota": 0})["quota"].occasions == (TUESDAY,)


def test_a_part_can_begin_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add("many cameras", {"rounds": [1]}, MONDAY)
    store.forget("many cameras")
    assert store.read({"many cameras": 0}) == {}
    store.forget("many cameras")
