"""Several baselines of the controller: recorded, switched, approved, expired, removed; and their patches."""

from dataclasses import replace

import pytest

from calibration.baseline.metadata import DAY_S
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.errors import CommandError
from edge_runtime.recalibration.baselines.store import MOST, BaselineStore
from tests.support.controller_bench import ACCEPTED, BASE, ControllerBench, a_baseline

P1 = Generation("parts/1", "p1")


def two_states(tmp_path, **settings):
    """A site with day (in use) and night."""
    bench = ControllerBench(tmp_path, commissioned=False, **settings)
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


def test_commissioning_names_the_baseline_and_notes_where_it_comes_from(tmp_path):
    bench = two_states(tmp_path)
    bench.commission("dusk", seed=3, expires_days=2.0)
    facts = bench.store.read("dusk").facts
    assert (facts.bundle, facts.preprocessing, facts.streams) == ("parts/1", "spec", ("belt",))
    assert facts.sample_period_s == pytest.approx(1.0)
    assert facts.blessed_by == "command"
    assert facts.expires_wall_s == pytest.approx(facts.blessed_wall_s + 2 * DAY_S)
    assert bench.request("baselines")["in_use"] == "dusk"
    assert bench.kinds() == ["baseline", "commissioned"]


def test_another_baseline_in_use_is_told_and_remembered_over_a_restart(tmp_path):
    bench = two_states(tmp_path)
    switch(bench, "night")
    [event] = bench.events
    assert (event.before, event.after) == ("day", "night")
    assert bench.controller.status().baselines["night"].in_use is True
    assert bench.controller.status().alarms == 0
    again = ControllerBench(tmp_path)
    assert again.watch.known.in_use == "night"


def test_the_next_patch_is_made_from_the_baseline_in_use(tmp_path):
    bench = two_states(tmp_path)
    switch(bench, "night")
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    assert bench.jobs[-1].request.baseline == bench.store.path("night")


def test_a_patch_for_a_drift_of_one_baseline_ends_with_it(tmp_path):
    bench = two_states(tmp_path)
    accept(bench, "day")
    assert bench.slot.generation == P1
    switch(bench, "night")
    assert bench.slot.generation == BASE
    switch(bench, "day")
    assert bench.slot.generation == BASE


def test_a_patch_that_goes_with_a_baseline_comes_back_with_it(tmp_path):
    bench = two_states(tmp_path)
    switch(bench, "night")
    accept(bench, "night", "recalibrate")
    assert bench.slot.generation == P1
    switch(bench, "day")
    assert bench.slot.generation == BASE
    switch(bench, "night")
    assert bench.slot.generation == P1
    assert bench.last_event.generation == P1


def test_a_patch_that_was_rolled_back_does_not_come_back_with_its_baseline(tmp_path):
    bench = two_states(tmp_path)
    accept(bench, "day", "recalibrate")
    switch(bench, "night")
    switch(bench, "day")
    bench.request("rollback")
    switch(bench, "night")
    switch(bench, "day")
    assert bench.slot.generation == BASE


def test_frames_collected_for_a_drift_of_day_are_not_used_at_night(tmp_path):
    bench = two_states(tmp_path)
    bench.watch.window_began_at_s = bench.clock.now + 0.5
    bench.watch.changes = ["alarm"]
    bench.feed(3)
    assert bench.controller.status().phase == "collecting"
    switch(bench, "night")
    assert bench.controller.status().phase == "idle"


def test_a_patch_that_was_made_while_the_baseline_changed_is_not_used(tmp_path):
    bench = two_states(tmp_path)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    verdict = accepted_from(bench, "day")
    switch(bench, "night")
    bench.jobs[-1].end(verdict)
    bench.tick()
    assert bench.slot.generation == BASE
    assert "another baseline has come into use" in bench.last_event.error


def test_from_an_expired_baseline_no_patch_is_made_and_it_is_said_once(tmp_path):
    bench = ControllerBench(tmp_path)
    assert bench.request("expire")["is_expired"] is True
    bench.watch.changes = ["alarm"]
    bench.feed(20)
    assert bench.jobs == []
    assert bench.kinds() == ["drift", "baseline"]
    assert "has expired" in bench.last_event.reason
    with pytest.raises(CommandError):
        bench.request("recalibrate")
    assert bench.request("approve", expires_days=1.0)["is_expired"] is False
    bench.feed(9)
    assert len(bench.jobs) == 1
    bench.tick(DAY_S)
    assert bench.controller.status().baselines["default"].is_expired is True


def test_approving_again_keeps_the_patch_and_the_baseline(tmp_path):
    bench = ControllerBench(tmp_path)
    accept(bench, "default", "recalibrate")
    before = bench.store.read("default").id
    bench.request("approve", name="default", expires_days=30.0)
    bench.feed(3)
    assert bench.slot.generation == P1
    assert BaselineStore(bench.model_state.baselines).read("default").id == before


def test_removing_the_one_in_use_leaves_the_other_and_takes_its_patch_back(tmp_path):
    bench = two_states(tmp_path)
    accept(bench, "day")
    assert bench.request("remove", name="day")["in_use"] == "night"
    bench.tick()
    assert bench.slot.generation == BASE
    bench.request("remove", name="night")
    assert bench.controller.status().commissioned is False
    with pytest.raises(CommandError, match="'day'"):
        bench.request("approve", name="day")
    with pytest.raises(CommandError):
        bench.request("remove")


def test_after_a_restart_no_patch_of_another_baseline_is_active(tmp_path):
    bench = two_states(tmp_path)
    accept(bench, "day")
    bench.store.remove("day")
    again = ControllerBench(tmp_path, rollout=ModelState.open(tmp_path, "parts").load_rollout("parts/1"))
    assert again.slot.generation == P1
    again.tick()
    assert again.slot.generation == BASE


def test_a_file_put_on_the_shelf_by_hand_is_found_when_the_list_is_asked_for(tmp_path):
    bench = ControllerBench(tmp_path)
    a_baseline(4).save(bench.store.path("pooled"))
    assert set(bench.request("baselines")["baselines"]) == {"default", "pooled"}
    assert set(bench.watch.known.baselines) == {"default", "pooled"}


def test_one_baseline_too_many_or_a_wild_name_is_refused_before_anything_is_collected(tmp_path):
    bench = ControllerBench(tmp_path)
    for i in range(MOST - 1):
        a_baseline(i + 1).save(bench.store.path(f"state-{i}"))
    with pytest.raises(CommandError, match=str(MOST)):
        bench.request("commission", name="one-more")
    with pytest.raises(CommandError):
        bench.request("commission", name="Day")
    assert bench.request("commission", name="state-0")["begun"] == "commission"
