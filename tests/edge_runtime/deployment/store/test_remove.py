"""Versions in use are known from the configuration and the state of its models; all others can be removed."""

import os
from dataclasses import replace

import pytest

from edge_runtime.config import Config
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.deployment.store.in_use import InUse, find_in_use
from edge_runtime.deployment.store.install import install
from edge_runtime.deployment.store.installed import list_installed
from edge_runtime.deployment.store.keep import Keep
from edge_runtime.deployment.store.remove import collect, remove
from edge_runtime.deployment.version_pointers import VersionPointers
from edge_runtime.errors import BundleError, StateError
from tests.support.bundle_store import look, make_bundle


@pytest.fixture
def box(tmp_path):
    """Five versions of one bundle."""
    for version in range(1, 6):
        install(make_bundle(tmp_path / f"v{version}", version=version), root_of(tmp_path))
    return tmp_path


def root_of(box):
    return box / "state" / "bundles"


def configure(box, bundle="photos", version="latest"):
    return Config.model_validate(
        {
            "device": "box",
            "state_dir": box / "state",
            "models": {
                "m": {"bundle": bundle, "version": version},
                "other": {"bundle": "demo:efficientnet-lite0"},
            },
            "cameras": {"c": {"path": "demo:conveyor", "model": "m"}},
        }
    )


def roles(box, **keys):
    in_use = find_in_use(configure(box, **keys))
    found = {number: in_use.of(root_of(box) / "photos" / str(number)) for number in range(1, 6)}
    return {number: role for number, role in found.items() if role}


def test_without_a_run_nothing_is_in_use_but_a_configured_version(box):
    assert roles(box) == {}
    assert roles(box, version=2) == {2: ("configured of m",)}


def test_the_notes_of_today_s_daemon_say_what_is_active(box):
    state = ModelState.open(box / "state", "m")
    state.note_last_version(3)
    assert roles(box) == {3: ("active of m",)}
    state.record(Rollout(Generation("photos/2", "p1")))
    assert roles(box) == {2: ("last run of m",), 3: ("active of m",)}


def test_pointers_say_it_when_they_are_there_and_what_ran_last_stays_too(box):
    state = ModelState.open(box / "state", "m")
    state.note_last_version(1)
    VersionPointers(active=4, previous=3, candidate=5).save(state.versions_path)
    assert roles(box, bundle=str(root_of(box) / "photos")) == {
        1: ("last run of m",), 3: ("previous of m",), 4: ("active of m",), 5: ("candidate of m",),
    }  # fmt: skip


def test_a_model_that_names_one_folder_uses_it_also_through_a_link(box):
    (box / "link").symlink_to(root_of(box) / "photos" / "2")
    assert roles(box, bundle=str(box / "link")) == {2: ("active of m",)}


@pytest.mark.parametrize("name", ["versions.json", "active.json"])
def test_with_damaged_notes_nothing_is_removed(box, name):
    state = ModelState.open(box / "state", "m")
    (state.folder / name).write_bytes(b"{")
    with pytest.raises(StateError) as caught:
        find_in_use(configure(box))
    assert name in str(caught.value)


def test_a_version_in_use_is_not_removed_and_another_one_is(box):
    state = ModelState.open(box / "state", "m")
    VersionPointers(active=4, previous=3, candidate=5).save(state.versions_path)
    in_use, before = find_in_use(configure(box)), look(root_of(box))
    for number in (3, 4, 5):
        with pytest.raises(BundleError) as caught:
            remove(root_of(box), "photos", number, in_use)
        assert "m" in caught.value.found
    assert look(root_of(box)) == before
    remove(root_of(box), "photos", 2, in_use)
    assert not (root_of(box) / "photos" / "2").exists()
    done = collect(root_of(box), Keep(latest=1, max_bytes=1), in_use)
    assert done.removed == ("photos/1",)
    assert done.over_bytes == done.kept_bytes - 1


@pytest.mark.parametrize("version", [9, 0])
def test_what_is_not_there_cannot_be_removed(box, version):
    with pytest.raises(BundleError) as caught:
        remove(root_of(box), "photos", version, InUse())
    assert "photos/5" in caught.value.found


def test_nothing_is_made_where_there_is_no_store(tmp_path):
    assert list_installed(tmp_path / "none", InUse()) == []
    assert collect(tmp_path / "none", Keep(), InUse()).removed == ()
    with pytest.raises(BundleError):
        remove(tmp_path / "none", "photos", 1, InUse())
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_name_goes_with_its_last_version(box):
    for version in range(1, 6):
        remove(root_of(box), "photos", version, InUse())
    assert look(root_of(box)) == {}


def test_leftovers_are_swept_by_a_collection(box):
    before = look(root_of(box))
    make_bundle(root_of(box) / ".incoming-dead" / "content")
    collect(root_of(box), Keep(), InUse())
    assert look(root_of(box)) == before


def test_all_are_listed_whole_or_damaged_with_size_and_time(box):
    (root_of(box) / "photos" / "2" / "labels.txt").unlink()
    os.utime(root_of(box) / "photos" / "3", (1000, 1000))
    found = {one.held.version: one for one in list_installed(root_of(box), InUse())}
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert [number for number, one in found.items() if one.problem is not None] == [2]
    assert [number for number, one in found.items() if not one.is_whole] == [2]
    assert found[2].format is None
    assert found[1].format == "onnx"
    assert found[3].held.installed_wall_s == 1000
    files = [path for path in (box / "v1").rglob("*") if path.is_file()]
    assert found[1].held.size_bytes == sum(path.stat().st_size for path in files)
    assert found[1].held == replace(found[1].held, name="photos")


def test_what_is_no_version_is_not_listed_and_not_removed(box):
    root = root_of(box)
    (root / "notes.txt").touch()
    (root / "photos" / "draft").mkdir()
    (root / "UPPER" / "1").mkdir(parents=True)
    make_bundle(root / "single")
    assert {one.held.id for one in list_installed(root, InUse())} == {f"photos/{n}" for n in range(1, 6)}
    collect(root, Keep(latest=1), InUse())
    assert (root / "photos" / "draft").is_dir()
    assert (root / "single" / "bundle.yaml").is_file()
