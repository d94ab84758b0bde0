"""Baselines on disk: named by their files, those of another model named, one without a name taken over."""

from dataclasses import replace

import pytest

from calibration.baseline.metadata import BaselineFacts
from calibration.errors import DataError
from calibration.stats import tensor_file
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.errors import StateError
from edge_runtime.recalibration.baselines.store import MOST, BaselineStore, InUse
from tests.support.controller_bench import IDENTITY, a_baseline


@pytest.fixture
def store(tmp_path):
    return BaselineStore(tmp_path / "baselines")


def named(name, seed=0, **facts):
    return a_baseline(seed, BaselineFacts(name=name, **facts))


def test_gives_back_what_was_put(store):
    store.put(named("day"))
    store.put(named("night", seed=1))
    usable, misfits, damaged = store.load(IDENTITY)
    assert list(usable) == store.list_names() == ["day", "night"]
    assert usable["night"].id == a_baseline(1).id
    assert misfits == damaged == {}


def test_a_file_copied_here_is_named_like_the_file(store):
    store.put(named("pooled"))
    store.path("pooled").rename(store.path("winter"))
    assert store.load(IDENTITY)[0]["winter"].name == "winter"


def test_what_cannot_be_used_is_named_and_left_alone(store):
    store.put(named("day"))
    store.put(replace(named("other"), model_sha256="b" * 64))
    store.put(named("tinted", preprocessing="another spec"))
    store.path("cut").write_bytes(store.path("day").read_bytes()[:500])
    store.path("Big Day").write_bytes(b"")
    usable, problems, damaged = store.load(IDENTITY)
    assert list(usable) == ["day"]
    assert "bbbbbbbbbbbb" in problems["other"]
    assert "another preprocessing" in problems["tinted"]
    assert damaged["cut"]
    assert "'Big Day'" in damaged["Big Day"]
    assert len(store.list_names()) == 5


def test_only_so_many_are_used_the_newest_first(store):
    for i in range(MOST + 2):
        store.put(named(f"state-{i}", seed=i))
    usable, misfits, damaged = store.load(IDENTITY)
    assert len(usable) == MOST
    assert (set(misfits), damaged) == ({"state-0", "state-1"}, {})


def test_other_facts_leave_the_figures_alone(store):
    store.put(named("day"))
    store.note_facts("day", BaselineFacts(name="day", expires_wall_s=5.0))
    again = store.read("day")
    assert (again.id, again.facts.expires_wall_s) == (a_baseline().id, 5.0)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"name": "day"}', b'{"name": "day", "parked": 3}'])
def test_a_damaged_note_means_nothing_is_known(store, content):
    store.note_in_use(InUse("day", {"id": "p3"}))
    assert store.read_in_use() == InUse("day", {"id": "p3"})
    (store.folder / "in-use.json").write_bytes(content)
    assert store.read_in_use() == InUse()


def test_removing_twice_is_fine_and_a_wild_name_is_refused(store):
    store.put(named("day"))
    store.remove("day")
    store.remove("day")
    with pytest.raises(DataError, match=r"'\.\./day'"):
        store.read("../day")


def test_a_disk_that_refuses_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError):
        BaselineStore(tmp_path / "file" / "baselines").put(named("day"))


def test_the_single_baseline_of_the_first_version_becomes_the_one_named_default(tmp_path):
    model_state = ModelState.open(tmp_path, "parts")
    arrays, header = tensor_file.decode("baseline", a_baseline().to_bytes())
    del header["facts"]
    (model_state.folder / "baseline.safetensors").write_bytes(tensor_file.encode("baseline", arrays, header))
    (model_state.folder / "probe.onnx").write_bytes(b"probe")
    for _ in range(2):
        model_state.adopt_single_baseline()
        assert list(BaselineStore(model_state.baselines).load(IDENTITY)[0]) == ["default"]
        assert model_state.probe_path("a" * 64).read_bytes() == b"probe"
    assert not (model_state.folder / "baseline.safetensors").exists()


def test_a_damaged_old_baseline_stays_where_it_is(tmp_path):
    model_state = ModelState.open(tmp_path, "parts")
    (model_state.folder / "baseline.safetensors").write_bytes(b"damaged")
    model_state.adopt_single_baseline()
    assert (model_state.folder / "baseline.safetensors").exists()
    assert BaselineStore(model_state.baselines).list_names() == []
