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
