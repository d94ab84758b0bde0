"""Autonomy: a patch that the gate accepted is used, waits for a person, or is only reported."""

import pytest

from edge_runtime.bundles.manifest import Envelope
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.reports import Reports
from edge_runtime.errors import CommandError, EngineError
from edge_runtime.messaging.events import PatchObserved, PatchProposed, ProposalEnded
from edge_runtime.recalibration.proposals import PROPOSAL_FILE
from tests.support.controller_bench import ACCEPTED, BASE, REFUSED, ControllerBench, a_baseline

PATCHED = Generation("parts/1", "p1")


@pytest.fixture
def bench(tmp_path):
    return ControllerBench(tmp_path, autonomy="propose")


def proposed(bench):
    bench.accept_one()
    return bench


def ends(bench):
    return [(fact.patch, fact.outcome) for fact in bench.events if isinstance(fact, ProposalEnded)]


def waiting(bench):
    proposal = bench.controller.status().proposal
    return None if proposal is None else proposal.patch


def test_an_accepted_patch_waits_with_its_report(bench):
    proposed(bench)
    fact = bench.last_event
    assert isinstance(fact, PatchProposed)
    assert (fact.patch, fact.report.report) == ("p1", "parts/p1")
    assert bench.slot.generation == BASE
    status = bench.controller.status()
    assert (status.autonomy, status.proposal.patch, status.accepted) == ("propose", "p1", 1)
    assert "p1" in bench.controller.concern()


def test_approval_makes_it_active_and_it_answers_the_drift(bench):
    proposed(bench)
    assert bench.request("approve-patch") == {"generation": "parts/1+p1"}
    assert bench.slot.generation == PATCHED
    assert ends(bench) == [("p1", "approved")]
    assert (waiting(bench), bench.controller.status().corrected_by) == (None, "p1")
    bench.watch.changes = ["returned"]
    bench.feed(2)
    assert bench.slot.generation == BASE


def test_a_rejected_patch_is_never_used_and_its_drift_left_alone(bench):
    proposed(bench)
    assert bench.request("reject-patch", patch="p1") == {"rejected": "p1"}
    bench.tick(1000)
    bench.watch.known_drift = "p1"
    bench.feed(30)
    assert (bench.slot.generation, len(bench.jobs), ends(bench)) == (BASE, 1, [("p1", "rejected")])
    assert bench.model_state.is_withdrawn("p1")
    with pytest.raises(CommandError):
        bench.request("approve-patch")


def test_a_decision_about_another_patch_than_the_one_that_waits_is_refused(bench):
    proposed(bench)
    for verb in ("approve-patch", "reject-patch"):
        with pytest.raises(CommandError, match="p1"):
            bench.request(verb, patch="p7")
    assert waiting(bench) == "p1"


def test_its_drift_is_not_answered_twice_while_it_waits_but_a_larger_one_is(bench):
    proposed(bench)
    bench.tick(1000)
    bench.feed(30)
    assert len(bench.jobs) == 1
    bench.watch.score = 5.0
    bench.feed(2)
    assert len(bench.jobs) == 2
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert (waiting(bench), ends(bench)) == ("p2", [("p1", "withdrawn")])


def test_a_refusal_keeps_the_patch_that_waits(bench):
    proposed(bench)
    bench.request("recalibrate")
    bench.feed(9)
    bench.jobs[-1].end(REFUSED)
    bench.tick()
    assert waiting(bench) == "p1"


def test_it_is_withdrawn_when_its_drift_is_over(bench):
    proposed(bench)
    bench.watch.changes = ["returned"]
    bench.feed(2)
    assert (waiting(bench), ends(bench)) == (None, [("p1", "withdrawn")])
    assert not bench.model_state.is_withdrawn("p1")  # the drift may come again


def test_it_is_withdrawn_when_another_baseline_comes(bench):
    proposed(bench)
    bench.commission(name="night", seed=5)
    bench.watch.changes = ["night"]
    bench.feed(2)
    assert (waiting(bench), ends(bench)) == (None, [("p1", "withdrawn")])


def test_it_survives_a_restart_and_can_be_approved_after_it(bench, tmp_path):
    proposed(bench)
    again = ControllerBench(tmp_path, autonomy="propose", clock=bench.clock)
    assert waiting(again) == "p1"
    again.watch.changes = ["alarm"]
    again.feed(20)
    assert again.jobs == []
    again.request("approve-patch")
    assert again.slot.generation == PATCHED
    assert waiting(ControllerBench(tmp_path, autonomy="propose", rollout=again.deployment.state)) is None


def test_a_drift_that_ended_while_the_daemon_was_off_withdraws_it(bench, tmp_path):
    proposed(bench)
    again = ControllerBench(tmp_path, autonomy="propose", clock=bench.clock)
    again.feed(2)
    assert waiting(again) == "p1"
    again.watch.is_quiet, again.watch.nearer_to = True, "p1"  # its drift has a low score
    again.feed(2)
    assert waiting(again) == "p1"
    again.watch.nearer_to = None
    again.feed(2)
    assert ends(again) == [("p1", "withdrawn")]


@pytest.mark.parametrize("content", [b"junk", b"{}", b'{"patch": "p9"}'])
def test_a_damaged_note_of_it_costs_the_note(tmp_path, content):
    ControllerBench(tmp_path).model_state.folder.joinpath("proposal.json").write_bytes(content)
    assert waiting(ControllerBench(tmp_path, autonomy="propose")) is None


def test_a_patch_that_does_not_run_waits_no_longer(bench):
    proposed(bench)
    bench.build_error = EngineError("it does not run")
    with pytest.raises(CommandError, match="does not run"):
        bench.request("approve-patch")
    assert (bench.slot.generation, ends(bench)) == (BASE, [("p1", "withdrawn")])


def test_an_edit_to_auto_uses_it_and_one_to_observe_withdraws_it(tmp_path):
    for autonomy, generation, outcome in (("auto", PATCHED, "approved"), ("observe", BASE, "withdrawn")):
        bench = proposed(ControllerBench(tmp_path / autonomy, autonomy="propose"))
        edited = bench.settings.model_copy(update={"autonomy": autonomy})
        bench.controller.reconfigure(edited, bench.drift)
        bench.tick()
        assert (bench.slot.generation, ends(bench)) == (generation, [("p1", outcome)])


def test_a_box_that_observes_reports_drift_and_begins_nothing_by_itself(tmp_path):
    bench = ControllerBench(tmp_path, autonomy="observe", schedule_due=1005.0)
    bench.watch.changes = ["alarm"]
    bench.feed(30)
    assert (bench.kinds(), bench.jobs) == (["drift"], [])
    assert "observe" in bench.controller.concern()


def test_a_box_that_observes_judges_on_command_and_keeps_the_report_alone(tmp_path):
    bench = ControllerBench(tmp_path, autonomy="observe")
    bench.request("recalibrate")
    bench.feed(9)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert isinstance(bench.last_event, PatchObserved)
    assert bench.last_event.report.report == "parts/r1"
    assert Reports(bench.model_state.folder).has_page("r1")
    assert bench.model_state.list_patch_ids() == []
    assert (bench.slot.generation, waiting(bench)) == (BASE, None)
    with pytest.raises(CommandError, match="observe"):
        bench.request("approve-patch")


def test_patches_that_wait_do_not_pile_up(bench):
    for _ in range(12):
        bench.request("recalibrate")
        bench.feed(9)
        bench.jobs[-1].end(ACCEPTED)
        bench.tick()
    assert len(bench.model_state.list_patch_ids()) == 8
    assert waiting(bench) == "p12"


def test_the_bundle_may_demand_a_stricter_autonomy_and_more_frames(tmp_path):
    envelope = Envelope(autonomy="propose", least_frames=20)
    bench = ControllerBench(tmp_path, envelope=envelope)
    bench.request("recalibrate")
    bench.feed(19)
    assert bench.jobs == []
    bench.feed(2)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert (bench.controller.status().autonomy, waiting(bench)) == ("propose", "p1")


def test_the_baseline_that_a_patch_was_made_from_must_still_be_the_one_in_use(bench):
    proposed(bench)
    bench.store.put(a_baseline(seed=3))
    bench.controller._baselines.refresh()
    bench.tick()
    assert ends(bench) == [("p1", "withdrawn")]


def test_a_patch_that_waits_for_another_version_than_the_one_that_answers_is_withdrawn_aloud(tmp_path, bench):
    proposed(bench)
    path = bench.model_state.folder / PROPOSAL_FILE
    path.write_text(path.read_text().replace("parts/1", "parts/7"))
    again = ControllerBench(tmp_path, autonomy="propose")
    assert waiting(again) is None
    again.controller.start()
    again.controller.stop(5.0)
    assert ends(again) == [("p1", "withdrawn")]
    assert not path.exists()
