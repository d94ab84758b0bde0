"""Generations on a real model state, with fake engines: what is active, on disk and in the slot."""

import shutil

import pytest

from edge_runtime.datatypes import Generation
from edge_runtime.deployment.deployment import KEPT_PATCHES
from edge_runtime.deployment.rollout import IllegalStep, Step
from edge_runtime.errors import BundleError, EngineError, StateError
from tests.support.deployment_bench import BASE, DeploymentBench


@pytest.fixture
def bench(tmp_path):
    return DeploymentBench(tmp_path)


def test_activating_swaps_and_records(bench):
    assert bench.activate() == Generation("parts/1", "p1")
    bench.assert_agrees(Generation("parts/1", "p1"))
    assert bench.deployment.is_patched
    assert bench.deployment.is_patched_by("drift alarm")
    assert not bench.deployment.is_patched_by("command")


def test_a_patch_that_was_opened_changes_nothing_until_it_is_put_in(bench):
    opened = bench.deployment.open(bench.adopt())
    assert (opened.generation, bench.built) == (Generation("parts/1", "p1"), [opened.engine])
    bench.assert_agrees(BASE)
    assert bench.deployment.put_in(opened) == opened.generation
    bench.assert_agrees(opened.generation)
    assert (bench.slot.engine, len(bench.built)) == (opened.engine, 1)
    with pytest.raises(IllegalStep):
        bench.deployment.open("p1")


def test_a_patch_that_cannot_be_recorded_is_closed(bench):
    opened = bench.deployment.open(bench.adopt())
    bench.break_record()
    with pytest.raises(StateError):
        bench.deployment.put_in(opened)
    assert opened.engine.is_closed
    assert bench.slot.generation == BASE


@pytest.mark.parametrize("broken", ["engine", "file", "record"])
def test_whatever_fails_on_the_way_leaves_the_active_generation(bench, broken):
    patch_id = bench.adopt()
    if broken == "engine":
        bench.refuse[b"patched"] = EngineError("does not run")
    elif broken == "file":
        (bench.model_state.patches / patch_id / "model.onnx").write_bytes(b"damaged")
    else:
        bench.break_record()
    with pytest.raises((EngineError, StateError)):
        bench.deployment.activate(patch_id)
    assert bench.slot.generation == BASE
    assert bench.deployment.state.active == BASE
    assert all(engine.is_closed for engine in bench.built)


def test_rolling_back_goes_to_the_patch_before_and_then_to_the_base(bench):
    bench.activate(b"one")
    bench.activate(b"two")
    _, after = bench.deployment.take_back(Step.ROLL_BACK)
    assert after == Generation("parts/1", "p1")
    bench.deployment.take_back(Step.ROLL_BACK)
    bench.assert_agrees(BASE)


@pytest.mark.parametrize("broken", ["engine", "file"])
def test_a_previous_patch_that_is_no_longer_usable_means_the_base(bench, broken):
    bench.activate(b"one")
    bench.activate(b"two")
    if broken == "engine":
        bench.refuse[b"one"] = EngineError("does not run")
    else:
        shutil.rmtree(bench.model_state.patches / "p1")
    bench.deployment.take_back(Step.ROLL_BACK)
    bench.assert_agrees(BASE)


def test_taking_back_from_the_base_is_refused(bench):
    with pytest.raises(IllegalStep):
        bench.deployment.take_back(Step.TO_BASE)
    bench.assert_agrees(BASE)


def test_when_even_the_base_cannot_be_built_the_patch_stays(bench):
    bench.activate()
    bench.refuse[None] = BundleError("parts", "missing", "it", "Copy it again.")
    with pytest.raises(BundleError):
        bench.deployment.take_back(Step.TO_BASE)
    bench.assert_agrees(Generation("parts/1", "p1"))


def test_a_full_disk_does_not_keep_a_patch_and_is_caught_up_with(bench):
    bench.activate()
    bench.break_record()
    bench.deployment.take_back(Step.TO_BASE)
    assert bench.slot.generation == BASE
    bench.deployment.record_again()
    bench.repair_record()
    bench.deployment.record_again()
    bench.assert_agrees(BASE)
    assert (bench.model_state.folder / "active.json").is_file()


def test_old_patches_are_removed_but_never_the_active_or_previous_one(bench):
    for number in range(KEPT_PATCHES + 3):
        bench.activate(b"model %d" % number)
        bench.deployment.prune(())
    assert len(list(bench.model_state.patches.iterdir())) == KEPT_PATCHES
    bench.deployment.take_back(Step.ROLL_BACK)
