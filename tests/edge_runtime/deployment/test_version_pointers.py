"""The pointers to versions are read as they were written, and a damaged file is an error that names it."""

import os
from dataclasses import replace

import orjson
import pytest

from edge_runtime.deployment import version_pointers
from edge_runtime.deployment.kept_pointers import KeptPointers
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.version_pointers import VersionPointers
from edge_runtime.errors import StateError

FULL = VersionPointers(active=4, previous=3, candidate=5, refused={2: "answers NaN"}, starts={5: 2})


@pytest.fixture
def path(tmp_path):
    return ModelState.open(tmp_path, "m").versions_path


@pytest.mark.parametrize("pointers", [FULL, VersionPointers(), VersionPointers(active=999_999_999)])
def test_what_is_saved_is_loaded_again(path, pointers):
    pointers.save(path)
    assert VersionPointers.load(path) == pointers
    assert [one.name for one in path.parent.glob("*versions*")] == ["versions.json"]


def test_without_a_file_nothing_is_set(path):
    assert VersionPointers.load(path) == VersionPointers()


def test_versions_in_use_are_those_that_a_pointer_names():
    assert FULL.in_use == {3, 4, 5}
    assert VersionPointers(active=1, refused={9: "x"}).in_use == {1}


def test_keys_of_a_later_release_are_left_out(path):
    path.write_bytes(orjson.dumps({"active": 4, "canary_share": 0.1}))
    VersionPointers.load(path).save(path)
    assert "canary_share" not in orjson.loads(path.read_bytes())
    assert VersionPointers.load(path) == VersionPointers(active=4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"active": 0}',
        b'{"active": "x"}',
        b'{"active": 1000000000}',
        b'{"active": 4, "previous": 4}',
        b'{"active": 4, "candidate": 4}',
        b'{"refused": {"x": "why"}}',
        b'{"refused": {"1": 7}}',
        b'{"starts": {"1": -1}}',
        b" " * (2**20 + 1),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(path, content):
    path.write_bytes(content)
    with pytest.raises(StateError) as caught:
        VersionPointers.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_what_is_no_file_is_an_error_and_never_waited_for(path):
    os.mkfifo(path)
    with pytest.raises(StateError):
        VersionPointers.load(path)


def test_a_disk_that_refuses_leaves_the_old_pointers(path, monkeypatch):
    FULL.save(path)

    def refuse(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StateError):
        replace(FULL, active=5, candidate=None).save(path)
    monkeypatch.undo()
    assert VersionPointers.load(path) == FULL


@pytest.mark.parametrize("wrong", [{"previous": 4}, {"candidate": 4}])
def test_one_version_is_not_active_and_something_else(wrong):
    with pytest.raises(ValueError):
        replace(FULL, **wrong)


def test_versions_that_were_active_are_remembered():
    known = VersionPointers()
    for version in range(1, 13):
        known = known.activate(version, known.active)
    assert (known.active, known.previous, known.earlier) == (12, 11, (10, 9, 8, 7, 6, 5, 4, 3))
    back = known.activate(11, 12)
    assert (back.active, back.previous, back.earlier[:2]) == (11, 12, (10, 9))
    assert back.activate(11, 12) == back


def test_each_bundle_has_its_own_and_an_old_file_is_of_the_one_that_is_used(path):
    path.write_bytes(orjson.dumps({"active": 1, "refused": {"2": "slow"}}))
    parts = VersionPointers.load(path).of("parts")
    assert (parts.bundle, parts.active) == ("parts", 1)
    screws = parts.of("screws")
    assert (screws.active, screws.refused, list(screws.others)) == (None, {}, ["parts"])
    replace(screws, active=7).save(path)
    back = VersionPointers.load(path).of("parts")
    assert (back.active, back.refused, back.others["screws"].active) == (1, {2: "slow"}, 7)
    many = back
    for number in range(20):
        many = many.of(f"bundle-{number}")
    assert len(many.others) == version_pointers.MOST_OTHERS


def test_a_promotion_that_is_taken_back_leaves_what_was_there_before_it(path):
    VersionPointers(bundle="small", active=3, previous=2, earlier=(1,)).save(path)
    kept = KeptPointers(path, "m", "small", 3)
    kept.begin()
    assert kept.promote(4)
    kept.demote()
    assert (kept.now.active, kept.now.previous, kept.now.earlier) == (3, 2, (1,))
