"""Known drifts: a patch that was accepted for one is judged first when it comes again, never used without the gate."""

import hashlib
import shutil
from dataclasses import replace

import orjson
import pytest
from structlog.testing import capture_logs

from edge_runtime.datatypes import Generation
from edge_runtime.errors import EngineError, StateError
from tests.support.controller_bench import ACCEPTED, BASE, REFUSED, ControllerBench, a_baseline

P1 = Generation("parts/1", "p1")


def two_states(tmp_path):
    """A site with day (in use) and night."""
    bench = ControllerBench(tmp_path, commissioned=False)
    bench.commission("night", seed=2)
    bench.commission("day", seed=1)
    bench.events.clear()
    return bench


def switch(bench, name):
    bench.watch.changes = [name]
    bench.feed(1)


def accepted_from(bench, name):
    return replace(ACCEPTED, baseline_id=bench.store.read(name).id)


def accept(bench, name, verb=None):
    """A patch made from the named baseline: by command, or for a drift."""
    if verb is not None:
        bench.request(verb)
    else:
        bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.jobs[-1].end(accepted_from(bench, name))
    bench.tick()


def known_drift(bench, patch_id="p1", model=b"patched"):
    """As an earlier drift left it: a patch of the baseline day, and what the camera showed then."""
    folder = bench.model_state.patches / patch_id
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    report = {"baseline_id": bench.store.read("day").id, "model_sha256": hashlib.sha256(model).hexdigest()}
    (folder / "report.json").write_bytes(orjson.dumps(report))
    a_baseline(5).save(folder / "observed.safetensors")


def drift_known_as(bench, patch_id="p1"):
    bench.watch.known_drift, bench.watch.changes = patch_id, ["alarm"]
    bench.feed(9)


def judged_good_again(bench, patch_id="p1"):
    """The job's answer when the gate accepts a known patch."""
    bench.jobs[-1].end(replace(accepted_from(bench, "day"), candidate=patch_id, is_known=True))
    bench.tick()


def test_the_patch_of_a_drift_seen_before_is_judged_first_and_used_only_when_the_gate_accepts_it(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    assert list(bench.watch.known.drifts) == ["p1"]
    drift_known_as(bench)
    assert bench.slot.generation == BASE
    assert bench.jobs[-1].request.known == {"p1": bench.model_state.patch_path("p1")}
    judged_good_again(bench)
    assert bench.slot.generation == P1
    assert (bench.last_event.report.is_known, bench.last_event.report.candidate) == (True, "p1")
    assert bench.last_event.report.report == "parts/r1"
    assert bench.model_state.list_patch_ids() == ["p1"]
    bench.watch.changes = ["returned"]
    bench.feed(1)
    assert bench.slot.generation == BASE


def test_a_known_drift_that_comes_again_waits_for_no_cool_down(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path, cooldown_s=10_000)
    for count in (1, 2, 3):
        drift_known_as(bench)
        assert len(bench.jobs) == count
        judged_good_again(bench)
        assert bench.slot.generation == P1
        bench.watch.changes = ["returned"]
        bench.feed(1)
        assert bench.slot.generation == BASE


def test_a_known_drift_whose_job_cannot_start_is_tried_again_after_the_cool_down(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    bench.start_error = StateError("no room for another process")
    drift_known_as(bench)
    bench.feed(30)
    assert bench.controller.status().failed == 1
    bench.start_error = None
    bench.tick(60)
    bench.feed(9)
    assert list(bench.jobs[-1].request.known) == ["p1"]


def test_a_known_patch_whose_judging_fails_waits_for_the_cool_down_and_is_not_judged_again(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    drift_known_as(bench)
    bench.jobs[-1].fail("killed")
    bench.feed(30)
    assert len(bench.jobs) == 1
    bench.tick(60)
    bench.feed(9)
    assert bench.jobs[-1].request.known == {}


def test_a_known_patch_that_the_gate_refuses_is_not_judged_again_in_the_same_drift(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    drift_known_as(bench)
    bench.jobs[-1].end(replace(REFUSED, baseline_id=bench.store.read("day").id))
    bench.feed(20)
    assert len(bench.jobs) == 1
    bench.tick(60)  # the cool-down
    bench.feed(9)
    assert len(bench.jobs) == 2
    assert bench.jobs[-1].request.known == {}


def test_another_candidate_that_is_better_becomes_a_new_patch(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    drift_known_as(bench)
    bench.jobs[-1].end(accepted_from(bench, "day"))
    bench.tick()
    assert bench.slot.generation.patch == "p2"


def test_a_drift_that_is_recognised_while_frames_are_collected_is_judged_with_its_patch(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    bench.watch.window_began_at_s = bench.clock.now + 0.5
    bench.watch.changes = ["alarm"]
    bench.feed(3)
    assert bench.jobs == []
    bench.watch.known_drift = "p1"
    bench.feed(8)
    assert list(bench.jobs[-1].request.known) == ["p1"]


def test_a_drift_that_is_not_recognised_is_not_answered_with_a_known_patch(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    drift_known_as(bench, None)
    assert bench.jobs[-1].request.known == {}


def test_a_known_patch_that_does_not_run_is_withdrawn_and_another_one_is_made(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    bench.build_error = EngineError("refused")
    drift_known_as(bench)
    judged_good_again(bench)
    assert bench.slot.generation == BASE
    assert bench.last_event.error == "refused"
    assert bench.model_state.is_withdrawn("p1")
    bench.tick(60)
    bench.feed(9)
    assert bench.jobs[-1].request.known == {}
    assert ControllerBench(tmp_path).watch.known.drifts == {}


def test_a_known_patch_that_was_rolled_back_while_it_was_judged_is_not_used(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    drift_known_as(bench)
    bench.model_state.withdraw("p1", "command")
    judged_good_again(bench)
    assert bench.slot.generation == BASE
    assert "p1" in bench.last_event.error


@pytest.mark.parametrize("damage", [b"garbage", b""])
def test_a_drift_that_cannot_be_read_is_reported_and_not_recognised(tmp_path, damage):
    bench = two_states(tmp_path)
    known_drift(bench)
    known_drift(bench, "p2")
    bench.model_state.observed_path("p1").write_bytes(damage)
    with capture_logs() as logs:
        assert list(ControllerBench(tmp_path).watch.known.drifts) == ["p2"]
    assert [entry["patch"] for entry in logs if entry["log_level"] == "error"] == ["p1"]


def test_the_drifts_of_the_newest_patches_are_recognised_and_no_more_patches_are_kept(tmp_path):
    bench = two_states(tmp_path)
    for number in range(1, 13):
        known_drift(bench, f"p{number}")
    again = ControllerBench(tmp_path)
    assert sorted(again.watch.known.drifts) == sorted(f"p{number}" for number in range(5, 13))
    drift_known_as(again, "p9")
    judged_good_again(again, "p9")
    assert again.model_state.list_patch_ids() == [f"p{number}" for number in range(5, 13)]


def test_with_a_new_patch_the_drifts_of_those_that_are_gone_are_forgotten(tmp_path):
    known_drift(two_states(tmp_path))
    for number in range(2, 9):
        known_drift(ControllerBench(tmp_path), f"p{number}")
    bench = ControllerBench(tmp_path)
    drift_known_as(bench, None)
    bench.jobs[-1].end(accepted_from(bench, "day"))
    bench.tick()
    assert bench.slot.generation.patch == "p9"
    assert sorted(bench.watch.known.drifts) == [f"p{number}" for number in range(2, 9)]


def test_a_drift_that_grows_beyond_its_patch_is_searched_from_there(tmp_path):
    bench = two_states(tmp_path)
    accept(bench, "day")
    assert bench.jobs[-1].request.start is None
    bench.tick(1000)
    bench.watch.score = 5.0
    bench.feed(9)
    assert bench.jobs[-1].request.start == bench.model_state.patch_path("p1")
    assert bench.jobs[-1].request.known == {}


def test_without_a_drift_or_with_another_baseline_the_search_starts_at_the_input(tmp_path):
    bench = two_states(tmp_path)
    accept(bench, "day", "recalibrate")
    bench.request("recalibrate")
    bench.feed(9)
    assert bench.jobs[-1].request.start is None
    bench.jobs[-1].end(replace(REFUSED, baseline_id=bench.store.read("day").id))
    bench.tick()
    switch(bench, "night")
    bench.tick(1000)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    assert bench.jobs[-1].request.start is None


def test_what_was_rolled_back_is_recognised_after_a_restart_until_a_newer_patch_counts(tmp_path):
    known_drift(two_states(tmp_path))
    state = ControllerBench(tmp_path).model_state
    state.withdraw("p1", "command")
    bench = ControllerBench(tmp_path)
    assert list(bench.watch.known.drifts) == ["p1"]
    drift_known_as(bench)
    assert (bench.jobs, bench.slot.generation) == ([], BASE)
    shutil.copytree(state.patches / "p1", state.patches / "p2")
    (state.patches / "p2" / "withdrawn").unlink()
    assert list(ControllerBench(tmp_path).watch.known.drifts) == ["p2"]


def test_the_known_drift_of_another_baseline_does_not_count(tmp_path):
    known_drift(two_states(tmp_path))
    bench = ControllerBench(tmp_path)
    switch(bench, "night")
    drift_known_as(bench)
    assert bench.slot.generation == BASE
    assert len(bench.jobs) == 1
