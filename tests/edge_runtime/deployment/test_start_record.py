"""The note of a start, while a rollout of the same model goes on."""

import pytest

from edge_runtime.deployment import start_record
from edge_runtime.deployment.start_record import StartRecord
from edge_runtime.deployment.version_pointers import VersionPointers


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "versions.json"
    VersionPointers(active=1, candidate=2).save(path)
    return path


def record(path):
    return StartRecord(path, is_kept=True, may_write=True)


def test_an_opening_that_fails_does_not_bring_back_what_a_rollout_decided_meanwhile(path):
    refused = VersionPointers(active=1, refused={2: "too slow"})

    def open_it():
        with record(path).count(1):
            assert VersionPointers.load(path).starts == {1: 1}
            refused.save(path)
            raise OSError("a full disk")

    with pytest.raises(OSError, match="a full disk"):
        open_it()
    assert VersionPointers.load(path) == refused


def test_neither_does_one_that_goes_well(path):
    starts = record(path)
    VersionPointers(active=2, previous=1).save(path)
    with starts.count(1):
        pass
    assert VersionPointers.load(path) == VersionPointers(active=2, previous=1, starts={1: 1})


def test_starts_before_a_power_cut_do_not_count(path, monkeypatch):
    for boot in "abc":
        monkeypatch.setattr(start_record, "read_boot_id", lambda boot=boot: boot)
        assert record(path).first == (1,)
        with record(path).count(1):
            pass
    assert VersionPointers.load(path).starts == {1: 1}
    for _ in range(2):
        with record(path).count(1):
            pass
    assert record(path).first == ()


def turned_off(path, last_run=1):
    return StartRecord(path, is_kept=False, may_write=True, last_run=last_run)


def test_a_rollout_that_was_turned_off_on_its_way_leaves_the_active_version(path):
    record = turned_off(path)
    assert (record.first, record.never) == ((1,), {2})
    assert "2" in record.explain(1, {1, 2, 3})
    with record.count(1):
        pass
    assert VersionPointers.load(path) == VersionPointers(active=1, candidate=2)  # nothing is written


def test_a_version_that_a_person_chose_since_is_not_left_for_an_older_one(path):
    for chosen in (2, 5):
        record = turned_off(path, last_run=chosen)
        assert (record.first, record.never) == ((), frozenset())
        assert record.explain(chosen, {1, 2, 5, 6}) is None


def test_what_a_rollout_refused_is_not_started_with_when_it_is_off(path):
    VersionPointers(active=1, refused={2: "too slow"}).save(path)
    record = turned_off(path)
    assert (record.first, record.never) == ((), {2})
    assert "too slow" in record.explain(1, {1, 2})
    assert record.explain(3, {1, 2, 3}) is None
    assert turned_off(path, last_run=2).never == frozenset()


def test_where_there_never_was_a_rollout_the_newest_counts(tmp_path):
    record = turned_off(tmp_path / "versions.json")
    assert (record.first, record.never, record.explain(1, {1, 2})) == ((), frozenset(), None)


def test_a_candidate_that_is_gone_is_not_named(path):
    assert turned_off(path).explain(1, {1}) is None
