"""Which pictures a recalibration uses: frames of the cameras, the configured folder, or a reference set by name."""

import pytest

from edge_runtime.errors import CommandError
from tests.support.controller_bench import REFUSED, ControllerBench


@pytest.fixture
def folders(tmp_path):
    for name in ("general", "night"):
        (tmp_path / name).mkdir()
    return {"folder": tmp_path / "general", "sets": {"night": tmp_path / "night"}}


def test_frames_of_the_cameras_alone_may_be_asked_for(tmp_path, folders):
    bench = ControllerBench(tmp_path, reference=folders)
    assert bench.request("recalibrate", reference="live")["reference"] == "live"
    bench.feed(9)
    job = bench.jobs[-1]
    assert (job.request.reference.folder, len(job.pixels)) == (None, 8)


@pytest.mark.parametrize("asked", [None, "folder"])
def test_the_folder_is_used_without_frames_of_the_cameras(tmp_path, folders, asked):
    bench = ControllerBench(tmp_path, reference=folders)
    assert bench.request("recalibrate", reference=asked)["reference"] == "folder"
    bench.tick()
    job = bench.jobs[-1]
    assert (job.request.reference.folder, job.pixels) == (folders["folder"], None)


def test_a_set_by_name_collects_live_frames_to_compare_with(tmp_path, folders):
    bench = ControllerBench(tmp_path, reference=folders)
    assert bench.request("recalibrate", reference="night")["reference"] == "night"
    bench.tick()
    assert bench.jobs == []
    bench.feed(9)
    job = bench.jobs[-1]
    assert (job.request.reference.folder, len(job.pixels)) == (folders["sets"]["night"], 8)
    job.end(REFUSED)
    bench.tick()
    assert bench.last_event.report.reference == "night"


@pytest.mark.parametrize("due", [None, 1001.0], ids=["drift", "schedule"])
def test_without_a_command_no_set_by_name_is_used(tmp_path, folders, due):
    bench = ControllerBench(tmp_path, reference={"sets": folders["sets"]}, schedule_due=due)
    bench.watch.changes = [] if due else ["alarm"]
    bench.feed(9)
    assert bench.jobs[-1].request.cause == ("schedule" if due else "drift alarm")
    assert bench.jobs[-1].request.reference.folder is None


@pytest.mark.parametrize("asked", ["day", "folder"])
def test_an_unknown_set_is_refused_with_those_that_are_known(tmp_path, folders, asked):
    bench = ControllerBench(tmp_path, reference={"sets": folders["sets"]})
    with pytest.raises(CommandError, match="live, night"):
        bench.request("recalibrate", reference=asked)
    assert bench.controller.status().task is None


def test_a_set_whose_folder_is_gone_is_refused_before_frames_are_collected(tmp_path, folders):
    bench = ControllerBench(tmp_path, reference=folders)
    folders["sets"]["night"].rmdir()
    with pytest.raises(CommandError, match="night"):
        bench.request("recalibrate", reference="night")
    assert bench.controller.status().task is None


def test_an_edit_while_frames_are_collected_does_not_change_what_is_used(tmp_path, folders):
    bench = ControllerBench(tmp_path, reference=folders)
    bench.request("recalibrate", reference="night")
    bench.edit(reference=bench.settings.reference.model_copy(update={"sets": {}}))
    bench.feed(9)
    assert bench.jobs[-1].request.reference.name == "night"


def test_where_no_picture_may_be_kept_the_moments_of_live_frames_do_not_correct_a_set(tmp_path, folders):
    bench = ControllerBench(tmp_path, reference={**folders, "pictures": "never"})
    bench.feed(9)
    bench.request("recalibrate", reference="night")
    bench.feed(9)
    assert bench.jobs[-1].request.further_input == ()
    bench.jobs[-1].end(REFUSED)
    bench.tick()
    bench.request("recalibrate", reference="live")
    bench.feed(9)
    assert len(bench.jobs[-1].request.further_input) > 0
