"""A patch that waits for a person and one in the shadow at the same time, and over restarts."""

from dataclasses import replace

import orjson
import pytest

from edge_runtime.datatypes import Generation
from edge_runtime.errors import CommandError
from edge_runtime.messaging.events import PatchProposed, PatchTried, ProposalEnded, Recalibrated
from edge_runtime.recalibration.proposals import PROPOSAL_FILE
from tests.support.controller_bench import ACCEPTED, BASE, REFUSED, ControllerBench

PATCHED = Generation("parts/1", "p1")
FRAMES = 20
SETTINGS = {"shadow_frames": FRAMES, "shadow_longest_s": 100.0, "autonomy": "propose"}


@pytest.fixture
def bench(tmp_path):
    return ControllerBench(tmp_path, **SETTINGS)


def approved(bench):
    """A person approved p1, and it is in the shadow."""
    bench.accept_one()
    assert bench.request("approve-patch") == {"shadow": "p1", "frames_wanted": FRAMES}
    bench.tick()
    return bench


def recalibrate(bench, report=ACCEPTED):
    bench.request("recalibrate")
    bench.feed(9)
    bench.jobs[-1].end(report)
    bench.tick()


def pending(bench):
    """Ids of the patch that waits and of the one in the shadow."""
    status = bench.controller.status()
    return tuple(None if one is None else one.patch for one in (status.proposal, status.shadow))


def noted(bench):
    path = bench.model_state.folder / PROPOSAL_FILE
    return orjson.loads(path.read_bytes())["patch"] if path.exists() else None


def facts(bench, kind):
    return [fact for fact in bench.events if isinstance(fact, kind)]


def test_one_without_a_verdict_ends_where_a_newer_one_waits_already(bench):
    approved(bench)
    recalibrate(bench)
    assert pending(bench) == ("p2", "p1")
    bench.tick(101)
    assert (pending(bench), noted(bench), bench.slot.generation) == (("p2", None), "p2", BASE)
    end = facts(bench, PatchTried)[-1]
    assert (end.patch, end.outcome, end.report) == ("p1", "withdrawn", None)
    assert "p2" in end.reason
    assert [fact.patch for fact in facts(bench, PatchProposed)] == ["p1", "p2"]
    assert [fact.patch for fact in facts(bench, ProposalEnded)] == ["p1"]  # the approval
    assert not bench.model_state.is_withdrawn("p1")  # its drift may come again
    assert bench.controller.status().failed == 0


def test_neither_the_one_that_waits_nor_the_one_in_the_shadow_is_removed_as_an_old_one(bench):
    approved(bench)
    for _ in range(9):
        recalibrate(bench)
    assert pending(bench) == ("p10", "p1")
    assert bench.model_state.list_patch_ids() == ["p1", *(f"p{number}" for number in range(3, 11))]
    bench.play(FRAMES)
    bench.tick()
    assert (bench.slot.generation, pending(bench)) == (PATCHED, ("p10", None))


def again_after(bench, tmp_path, **settings):
    """The daemon was killed, or has ended, and starts again."""
    return ControllerBench(
        tmp_path,
        rollout=bench.model_state.load_rollout("parts/1"),
        clock=bench.clock,
        **{**SETTINGS, **settings},
    )


@pytest.mark.parametrize("is_killed", [False, True])
def test_one_that_a_person_approved_waits_again_after_a_restart_during_its_shadow(bench, tmp_path, is_killed):
    approved(bench)
    bench.play(5)
    if not is_killed:
        bench.controller.stop(1.0)
    again = again_after(bench, tmp_path)
    again.watch.changes = ["alarm"]
    again.feed(20)
    assert (pending(again), again.slot.generation, again.jobs) == (("p1", None), BASE, [])
    assert again.request("approve-patch") == {"shadow": "p1", "frames_wanted": FRAMES}
    again.tick()
    again.play(FRAMES)
    again.tick()
    again.tick()
    assert (again.slot.generation, pending(again), noted(again)) == (PATCHED, (None, None), None)


def test_its_shadow_does_not_begin_again_by_itself_where_patches_need_no_approval_any_more(bench, tmp_path):
    """One that ends the process would do so after every start."""
    bench.accept_one()
    bench.edit(autonomy="auto")
    assert pending(bench) == (None, "p1")
    again = again_after(bench, tmp_path, autonomy="auto")
    again.watch.changes = ["alarm"]
    again.feed(20)
    assert (pending(again), again.patched) == (("p1", None), [])
    again.edit(shadow_frames=0)
    assert again.slot.generation == PATCHED


def ends_by_rejection(bench):
    bench.request("reject-patch")


def ends_by_drift(bench):
    bench.watch.changes = ["returned"]
    bench.feed(1)


@pytest.mark.parametrize("end", [ends_by_rejection, ends_by_drift])
def test_one_whose_shadow_ended_waits_no_more_after_a_restart(bench, tmp_path, end):
    approved(bench)
    end(bench)
    bench.tick()
    assert (pending(bench), noted(bench)) == ((None, None), None)
    assert pending(again_after(bench, tmp_path)) == (None, None)


def test_a_newer_one_that_waits_is_the_one_that_waits_after_a_restart(bench, tmp_path):
    approved(bench)
    recalibrate(bench)
    bench.request("reject-patch", patch="p1")
    bench.tick()
    assert (pending(bench), noted(bench)) == (("p2", None), "p2")
    assert pending(again_after(bench, tmp_path)) == ("p2", None)


def unnotable(bench):
    """A patch waits, and the disk takes no note any more."""
    bench.accept_one()
    path = bench.model_state.folder / PROPOSAL_FILE
    path.unlink()
    (path / "in the way").mkdir(parents=True)
    return path


def test_an_approval_that_cannot_be_noted_begins_no_shadow(bench):
    path = unnotable(bench)
    with pytest.raises(CommandError):
        bench.request("approve-patch")
    bench.tick()
    assert (pending(bench), bench.patched) == (("p1", None), [])
    (path / "in the way").rmdir()
    path.rmdir()
    assert bench.request("approve-patch") == {"shadow": "p1", "frames_wanted": FRAMES}


def test_where_no_approval_is_needed_one_that_cannot_be_noted_waits_no_longer(bench):
    unnotable(bench)
    bench.edit(autonomy="auto")
    assert (pending(bench), bench.patched) == ((None, None), [])
    assert [fact.outcome for fact in facts(bench, ProposalEnded)] == ["withdrawn"]
    assert not bench.model_state.is_withdrawn("p1")


def known(report=ACCEPTED, patch="p1"):
    return replace(report, candidate=patch, is_known=True)


@pytest.mark.parametrize("autonomy", ["auto", "propose"])
@pytest.mark.parametrize("shadow_frames", [0, FRAMES])
def test_the_active_patch_that_is_accepted_again_stays_active_without_a_shadow(
    tmp_path, autonomy, shadow_frames
):
    bench = ControllerBench(tmp_path, shadow_frames=0)
    bench.accept_one()
    assert bench.slot.generation == PATCHED
    bench.edit(autonomy=autonomy, shadow_frames=shadow_frames)
    engine = bench.slot.engine
    recalibrate(bench, known())
    bench.tick()
    assert [fact.generation for fact in facts(bench, Recalibrated)] == [PATCHED, PATCHED]
    assert (bench.slot.generation, bench.slot.engine, pending(bench)) == (PATCHED, engine, (None, None))
    assert (len(bench.patched), engine.is_closed) == (1, False)
    assert not bench.model_state.is_withdrawn("p1")
    assert (bench.controller.status().failed, bench.crashes.by_thread()) == (0, {})
    assert facts(bench, PatchTried) == []
    assert bench.deployment.state.previous == BASE


@pytest.mark.parametrize("shadow_frames", [0, FRAMES])
def test_one_that_waits_and_that_a_roll_back_has_made_active_is_approved_without_ado(tmp_path, shadow_frames):
    bench = ControllerBench(tmp_path, shadow_frames=0)
    bench.accept_one()
    recalibrate(bench)
    bench.edit(autonomy="propose", shadow_frames=shadow_frames)
    recalibrate(bench, known())
    assert (bench.slot.generation, pending(bench)) == (Generation("parts/1", "p2"), ("p1", None))
    assert bench.request("rollback") == {"generation": str(PATCHED)}
    engine = bench.slot.engine
    assert bench.request("approve-patch") == {"generation": str(PATCHED)}
    bench.tick()
    assert (bench.slot.engine, pending(bench), facts(bench, PatchTried)) == (engine, (None, None), [])


def refused_twice(bench):
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    for _ in range(2):
        bench.jobs[-1].end(REFUSED)
        bench.tick()
        bench.tick(150)
        bench.feed(9)
    return bench


def test_a_patch_that_waits_for_a_person_ends_the_doubled_cool_down_of_refusals(bench):
    refused_twice(bench)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert pending(bench) == ("p1", None)
    bench.watch.score = 5.0  # another drift, which it does not answer
    jobs = len(bench.jobs)
    bench.tick(61)
    bench.feed(9)
    assert len(bench.jobs) == jobs + 1


@pytest.mark.parametrize("frames", [0, FRAMES])
def test_a_thread_that_outlives_the_stop_makes_nothing_active(bench, tmp_path, frames):
    """Another model may answer by then, and the record is its own."""
    approved(bench)
    bench.play(frames)
    bench.controller._trials.close()
    bench.edit(shadow_frames=0)
    assert (bench.slot.generation, [engine.is_closed for engine in bench.patched]) == (BASE, [True])
    assert not (bench.model_state.folder / "active.json").exists()
    assert facts(bench, PatchTried)[-1].outcome == "withdrawn"
    assert (bench.model_state.is_withdrawn("p1"), bench.controller.status().failed) == (False, 0)
    assert pending(again_after(bench, tmp_path)) == ("p1", None)
