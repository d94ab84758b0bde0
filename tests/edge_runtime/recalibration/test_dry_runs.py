"""A dry run: all of a recalibration, after which nothing is other than before but its report."""

from dataclasses import replace

import pytest

from edge_runtime.errors import CommandError
from edge_runtime.messaging.events import DryRunEnded
from tests.support.controller_bench import ACCEPTED, REFUSED, ControllerBench, a_baseline


def dry_run(bench):
    answer = bench.request("recalibrate", dry_run=True)
    bench.feed(9)
    return answer


def files_of(bench):
    """Everything the model keeps on the disk, but reports of dry runs and the reservoir, which goes on by itself."""
    folder = bench.model_state.folder
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in ("dry-runs", "reservoir")
    }


def state_of(bench):
    """The status without what live frames change by themselves."""
    return replace(bench.controller.status(), sampled=0, reservoir=None, skipped=0)


@pytest.mark.parametrize("result", [ACCEPTED, REFUSED], ids=["accepted", "refused"])
def test_a_dry_run_tells_what_the_gate_decided_and_changes_nothing(tmp_path, result):
    bench = ControllerBench(tmp_path)
    bench.feed(9)
    before, files = state_of(bench), files_of(bench)
    assert dry_run(bench)["dry_run"] is True
    assert bench.jobs[-1].request.is_dry_run is True
    assert bench.controller.status().task == "recalibrate (command, dry run)"
    bench.jobs[-1].end(result)
    bench.tick()
    event = bench.last_event
    assert isinstance(event, DryRunEnded)
    assert (event.report.accepted, event.report.dry_run) == (result.accepted, True)
    assert event.report.report == "parts/d1"
    assert (bench.model_state.folder / "dry-runs" / "d1" / "report.json").is_file()
    assert (state_of(bench), files_of(bench)) == (before, files)


def test_a_dry_run_that_fails_says_so_and_is_not_counted(tmp_path):
    bench = ControllerBench(tmp_path)
    before = state_of(bench)
    dry_run(bench)
    bench.jobs[-1].fail("no memory", is_lasting=True)
    bench.tick()
    assert (bench.last_event.error, bench.last_event.dry_run, bench.last_event.is_lasting) == (
        "no memory",
        True,
        False,
    )
    assert state_of(bench) == before


def test_a_dry_run_delays_no_recalibration_of_a_drift(tmp_path):
    bench = ControllerBench(tmp_path, cooldown_s=3600)
    for result in (REFUSED, REFUSED):
        dry_run(bench)
        bench.jobs[-1].end(result)
        bench.tick()
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    assert bench.controller.status().task == "recalibrate (drift alarm)"
    assert bench.jobs[-1].request.is_dry_run is False


def test_a_dry_run_does_not_end_the_cool_down_of_a_refusal(tmp_path):
    bench = ControllerBench(tmp_path, cooldown_s=3600)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    bench.jobs[-1].end(REFUSED)
    bench.tick()
    before = bench.controller.status().concern
    dry_run(bench)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert bench.controller.status().task is None
    assert "may begin in" in before
    assert "may begin in" in bench.controller.status().concern


@pytest.mark.parametrize("autonomy", ["observe", "propose"])
def test_a_dry_run_of_a_box_that_uses_no_patch_by_itself_leaves_none_waiting(tmp_path, autonomy):
    bench = ControllerBench(tmp_path, autonomy=autonomy)
    dry_run(bench)
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert bench.controller.status().proposal is None
    assert bench.model_state.list_patch_ids() == []
    assert bench.last_event.report.dry_run is True


def test_a_known_patch_that_a_dry_run_judged_is_judged_again(tmp_path):
    bench = ControllerBench(tmp_path, cooldown_s=1)
    bench.accept_one()
    bench.watch.changes = ["returned"]
    bench.feed(1)
    bench.watch.changes, bench.watch.known_drift = ["alarm"], "p1"
    bench.edit(on_drift=False)
    bench.feed(1)
    dry_run(bench)
    assert list(bench.jobs[-1].request.known) == ["p1"]
    bench.jobs[-1].end(replace(ACCEPTED, candidate="p1", is_known=True))
    bench.tick()
    assert bench.controller.status().generation == "parts/1"
    bench.request("recalibrate")
    bench.feed(9)
    assert list(bench.jobs[-1].request.known) == ["p1"]


def test_a_dry_run_whose_baseline_is_in_use_no_longer_fails(tmp_path):
    bench = ControllerBench(tmp_path)
    dry_run(bench)
    other = a_baseline(7)
    bench.jobs[-1].end(replace(ACCEPTED, baseline_id=other.id))
    bench.tick()
    assert "another baseline" in bench.last_event.error
    assert bench.last_event.dry_run is True


def test_what_a_real_one_may_not_a_dry_run_may_not_either(tmp_path):
    bench = ControllerBench(tmp_path, enabled=False)
    with pytest.raises(CommandError):
        bench.request("recalibrate", dry_run=True)
    bench = ControllerBench(tmp_path / "bare", commissioned=False)
    with pytest.raises(CommandError):
        bench.request("recalibrate", dry_run=True)


def test_a_drift_that_is_not_corrected_stays_a_concern_during_a_dry_run(tmp_path):
    bench = ControllerBench(tmp_path, on_drift=False)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    dry_run(bench)
    assert bench.controller.status().phase == "working"
    assert "on_drift" in bench.controller.concern()
