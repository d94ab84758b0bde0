"""A command that waits for the end of its task hears of this end and of no other one's, whatever ends it."""

from dataclasses import replace

import pytest

from edge_runtime.deployment import deployment
from edge_runtime.errors import CommandError
from edge_runtime.recalibration.follower import TaskFollower
from edge_runtime.recalibration.job.messages import CommissioningResult, JobProgress
from tests.support.controller_bench import ACCEPTED, REFUSED, ControllerBench, a_baseline

FRAMES = 20


@pytest.fixture(autouse=True)
def no_wait_between_batches(monkeypatch):
    """Nothing runs meanwhile that a swap could disturb."""
    monkeypatch.setattr(deployment, "PAUSE_S", 0.0)


def begin(bench, verb="recalibrate", **arguments):
    follower = TaskFollower()
    bench.request(verb, follower=follower, **arguments)
    return follower


def recalibrate(bench, result, **arguments):
    """The whole of it; the end of it, or the one who waits for it."""
    follower = begin(bench, **arguments)
    bench.feed(9)
    bench.jobs[-1].end(result)
    bench.tick()
    return follower


def end_of(follower):
    return follower.end.result(timeout=0)


def test_an_accepted_patch_is_named_with_its_page(tmp_path):
    end = end_of(recalibrate(ControllerBench(tmp_path), ACCEPTED))
    assert (end["outcome"], end["accepted"], end["candidate"]) == ("accepted", True, "input")
    assert (end["patch"], end["generation"], end["report"]) == ("p1", "parts/1+p1", "parts/p1")


def test_a_refusal_has_its_reasons(tmp_path):
    end = end_of(recalibrate(ControllerBench(tmp_path), REFUSED))
    assert (end["outcome"], end["accepted"], end["report"]) == ("refused", False, "parts/r1")
    assert end["reasons"] == list(REFUSED.reasons)
    assert "patch" not in end


@pytest.mark.parametrize(
    ("autonomy", "outcome", "patch"), [("propose", "proposed", "p1"), ("observe", "observed", None)]
)
def test_a_patch_that_is_not_used_at_once_says_so(tmp_path, autonomy, outcome, patch):
    end = end_of(recalibrate(ControllerBench(tmp_path, autonomy=autonomy), ACCEPTED))
    assert (end["outcome"], end.get("patch")) == (outcome, patch)
    assert "generation" not in end


def test_a_dry_run_ends_as_one(tmp_path):
    end = end_of(recalibrate(ControllerBench(tmp_path), ACCEPTED, dry_run=True))
    assert (end["outcome"], end["accepted"], end["report"]) == ("dry_run", True, "parts/d1")


def test_a_task_that_fails_says_why(tmp_path):
    bench = ControllerBench(tmp_path)
    follower = begin(bench)
    bench.feed(9)
    bench.jobs[-1].fail("no memory", is_lasting=True)
    bench.tick()
    assert end_of(follower) == {"outcome": "failed", "reasons": ["no memory"], "is_lasting": True}


def test_too_few_frames_end_the_wait(tmp_path):
    bench = ControllerBench(tmp_path)
    follower = begin(bench)
    bench.tick(10_000)
    assert end_of(follower)["outcome"] == "failed"


def test_a_commissioning_tells_what_was_recorded(tmp_path):
    bench = ControllerBench(tmp_path, commissioned=False)
    follower = begin(bench, "commission", name="night")
    bench.feed(16)
    job = bench.jobs[-1]
    a_baseline(1, job.request.facts).save(job.folder / "baseline.safetensors")
    (job.folder / "probe.onnx").write_bytes(b"probe")
    job.end(CommissioningResult(16, 1, 16.0))
    bench.tick()
    assert end_of(follower) == {"outcome": "recorded", "name": "night", "frames": 16, "taps": 1}


def test_the_end_of_an_earlier_task_is_not_taken_for_the_one_that_was_refused_because_of_it(tmp_path):
    bench = ControllerBench(tmp_path)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    follower = TaskFollower()
    with pytest.raises(CommandError, match="drift alarm"):
        bench.request("recalibrate", follower=follower)
    bench.jobs[-1].end(REFUSED)
    bench.tick()
    assert not follower.end.done()


def test_a_task_of_a_drift_that_begins_later_is_not_taken_for_it(tmp_path):
    bench = ControllerBench(tmp_path, cooldown_s=1)
    first = recalibrate(bench, REFUSED)
    bench.watch.changes = ["alarm"]
    bench.feed(9)
    assert bench.controller.describe_progress(first) == {"phase": "waiting"}
    bench.jobs[-1].end(ACCEPTED)
    bench.tick()
    assert end_of(first)["outcome"] == "refused"


@pytest.mark.parametrize("replaced", [None, "parts/2 answers now instead of parts/1"])
def test_the_end_of_the_controller_ends_the_wait_with_its_reason(tmp_path, replaced):
    bench = ControllerBench(tmp_path)
    follower = begin(bench)
    bench.feed(9)
    bench.controller.stop(1.0, replaced)
    end = end_of(follower)
    assert (end["outcome"], bench.jobs[-1].is_killed) == ("given_up", True)
    assert (replaced or "the daemon ends") in end["reasons"][0]


def test_an_unforeseen_error_ends_the_wait_too(tmp_path, monkeypatch):
    bench = ControllerBench(tmp_path)
    follower = begin(bench)
    bench.feed(9)
    monkeypatch.setattr(bench.controller._results, "_use", lambda task, result: 1 / 0)
    bench.jobs[-1].end(ACCEPTED)
    with pytest.raises(ZeroDivisionError):
        bench.tick()
    assert end_of(follower)["outcome"] == "given_up"


def test_another_baseline_that_came_meanwhile_is_a_failure(tmp_path):
    end = end_of(recalibrate(ControllerBench(tmp_path), replace(ACCEPTED, baseline_id=a_baseline(7).id)))
    assert end["outcome"] == "failed"


def test_how_far_it_is_are_frames_and_then_the_phase_of_its_process(tmp_path):
    bench = ControllerBench(tmp_path)
    follower = begin(bench)
    bench.feed(3)
    told = bench.controller.describe_progress(follower)
    assert (told["phase"], told["frames_wanted"]) == ("collecting", 8)
    assert 0 < told["frames"] <= 3
    bench.feed(6)
    assert bench.controller.describe_progress(follower) == {"phase": "working"}
    bench.jobs[-1].progress = JobProgress("judging", 0.5)
    assert bench.controller.describe_progress(follower) == {"phase": "judging", "share": 0.5}


def test_it_goes_with_its_patch_through_the_shadow(tmp_path):
    bench = ControllerBench(tmp_path, shadow_frames=FRAMES)
    follower = recalibrate(bench, ACCEPTED)
    bench.tick()
    bench.play(5)
    told = bench.controller.describe_progress(follower)
    assert (told["phase"], told["frames_wanted"]) == ("shadow", FRAMES)
    assert told["frames"] >= 1
    assert not follower.end.done()
    bench.play(FRAMES)
    bench.tick(0.1)
    end = end_of(follower)
    assert (end["outcome"], end["patch"], end["generation"]) == ("accepted", "p1", "parts/1+p1")


def reject(bench):
    bench.request("reject-patch")


def end_drift(bench):
    bench.watch.changes = ["alarm", "returned"]
    bench.feed(2)


def stop(bench):
    bench.controller.stop(1.0)


def take_its_place(bench):
    recalibrate(bench, ACCEPTED)


@pytest.mark.parametrize("cut_short", [reject, end_drift, stop, take_its_place])
def test_a_shadow_that_is_cut_short_ends_the_wait(tmp_path, cut_short):
    bench = ControllerBench(tmp_path, shadow_frames=FRAMES)
    follower = recalibrate(bench, ACCEPTED)
    bench.tick()
    cut_short(bench)
    assert end_of(follower)["outcome"] == "given_up"
    bench.controller.stop(1.0)


def test_a_shadow_without_a_verdict_leaves_the_patch_waiting(tmp_path):
    bench = ControllerBench(tmp_path, shadow_frames=FRAMES, shadow_longest_s=100.0)
    follower = recalibrate(bench, ACCEPTED)
    bench.tick()
    bench.play(3)
    bench.tick(101)
    end = end_of(follower)
    assert (end["outcome"], end["patch"]) == ("proposed", "p1")
