"""A patch that waits for a person and one in the shadow at the same time, and over restarts."""

import orjson
import pytest

from edge_runtime.datatypes import Generation
from edge_runtime.messaging.events import PatchProposed, PatchTried, ProposalEnded
from edge_runtime.recalibration.proposals import PROPOSAL_FILE
from tests.support.controller_bench import ACCEPTED, BASE, ControllerBench

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
