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
    return StartRecord(path, "parts", is_kept=True, may_write=True)


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
        assert record(path).order({1, 2}) == [1, 2]
        with record(path).count(1):
            pass
    assert VersionPointers.load(path).starts == {1: 1}
    for _ in range(2):
        with record(path).count(1):
            pass
    assert record(path).order({1, 2}) == [2, 1]


def turned_off(path, last_run=1):
    return StartRecord(path, "parts", is_kept=False, may_write=True, last_run=last_run)


def test_a_rollout_that_was_turned_off_on_its_way_leaves_the_active_version(path):
    record = turned_off(path)
    assert record.order({1, 2, 3}) == [1, 3, 2]
    assert "2" in record.explain(1, {1, 2, 3})
    with record.count(1):
        pass
    assert VersionPointers.load(path) == VersionPointers(active=1, candidate=2)  # nothing is written


def test_a_version_that_a_person_chose_since_is_not_left_for_an_older_one(path):
    for chosen in (2, 5):
        record = turned_off(path, last_run=chosen)
        assert record.order({1, 2, 5, 6}) == [6, chosen, *sorted({5, 2, 1} - {chosen}, reverse=True)]
        assert record.explain(chosen, {1, 2, 5, 6}) is None


def test_what_a_rollout_refused_is_not_started_with_when_it_is_off(path):
    VersionPointers(active=1, refused={2: "too slow"}).save(path)
    record = turned_off(path)
    assert record.order({1, 2, 3}) == [3, 1]
    assert record.order({2}) == []
    assert "too slow" in record.explain(1, {1, 2})
    assert record.explain(3, {1, 2, 3}) is None
    assert turned_off(path, last_run=2).order({1, 2}) == [2, 1]


def test_where_there_never_was_a_rollout_the_newest_counts(tmp_path):
    record = turned_off(tmp_path / "versions.json")
    assert (record.order({1, 2}), record.explain(1, {1, 2})) == ([2, 1], None)


def test_a_candidate_that_is_gone_is_not_named(path):
    assert turned_off(path).explain(1, {1}) is None


@pytest.mark.parametrize(
    ("pointers", "last_run", "expected"),
    [
        (VersionPointers(active=4, previous=2), 4, [4, 2, 3, 1, 6, 5]),
        (VersionPointers(active=4, previous=2, earlier=(1,)), 4, [4, 2, 1, 3, 6, 5]),
        (VersionPointers(active=4, previous=3, candidate=5), 4, [4, 3, 2, 1, 5, 6]),
        (VersionPointers(active=4, previous=3, refused={3: "slow", 6: "NaN"}), 4, [4, 2, 1, 5]),
        (VersionPointers(), 4, [4, 3, 2, 1, 6, 5]),  # the rollout is new here
        (VersionPointers(), None, [6, 5, 4, 3, 2, 1]),  # nothing has answered yet
    ],
)
def test_with_a_rollout_what_answered_before_comes_first_and_the_untried_last(
    path, pointers, last_run, expected
):
    pointers.save(path)
    starts = StartRecord(path, "parts", is_kept=True, may_write=True, last_run=last_run)
    assert starts.order({1, 2, 3, 4, 5, 6}) == expected


def test_a_version_that_answers_untried_is_named(path):
    VersionPointers(active=2, previous=1).save(path)
    starts = record(path)
    assert [starts.find_untried(one) for one in (1, 2)] == [None, None]
    assert "3" in starts.find_untried(3)
    path.unlink()
    assert record(path).find_untried(3) is None


@pytest.mark.parametrize("is_kept", [False, True])
def test_with_damaged_pointers_the_version_that_ran_last_comes_first(path, is_kept):
    path.write_bytes(b"{")
    starts = StartRecord(path, "parts", is_kept=is_kept, may_write=True, last_run=2)
    assert starts.order({1, 2, 3})[0] == 2


def test_refusals_and_pointers_are_those_of_one_bundle(path):
    VersionPointers(bundle="screws", active=1, refused={2: "too slow"}).save(path)
    for is_kept in (False, True):
        starts = StartRecord(path, "parts", is_kept=is_kept, may_write=True, last_run=1)
        assert starts.order({1, 2}) == [2, 1]
    with starts.count(2):
        pass
    back = StartRecord(path, "screws", is_kept=True, may_write=True, last_run=2)
    assert back.order({1, 2, 3}) == [1, 3]
