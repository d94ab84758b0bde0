"""Folders of the daemon: nothing outside of them is ever removed, and something else in their place costs no start."""

import os

import pytest

from edge_runtime.bundles.passed_models import PassedModels
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.reports import KEPT, Reports
from edge_runtime.errors import StateError
from edge_runtime.recalibration.reference.reservoir_store import ReservoirStore
from edge_runtime.system.own_folder import make_folder, remove
from edge_runtime.system.sandbox import Protection

LINKED = [
    "reservoir",
    "reservoir/old-bundle",
    "reservoir/parts",
    "reservoir/parts/1",
    "reservoir/parts/0",
    "reservoir/old-bundle/1",
    "reservoir/parts/1/album",
    "reservoir/a.png",
    "jobs",
    "jobs/recalibrate",
    "jobs/recalibrate/frames",
    "jobs/.hidden",
    "patches",
    "patches/p1",
    "patches/p1/deep/er",
    "reports",
    "reports/r1",
]


@pytest.fixture
def precious(tmp_path):
    folder = tmp_path / "precious"
    for name in (
        "letter.txt",
        "albums/a.jpg",
        "1/b.png",
        "recalibrate/c",
        "p1/report.json",
        "r1/report.html",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def everything_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def work_in(state_dir):
    """Everything that clears folders of one model."""
    model_state = ModelState.open(state_dir, "m")
    model_state.clear_jobs()
    model_state.prune(0, set())
    ReservoirStore(model_state.reservoir, "parts/1").open(0.0, 0.0, 1.0, with_pictures=True)
    reports = Reports.of(state_dir, "m")
    for _ in range(KEPT + 1):
        (model_state.jobs / "done").mkdir(exist_ok=True)
        reports.keep(model_state.jobs / "done")
    remove(model_state.reservoir, below=model_state.folder)


@pytest.mark.parametrize("place", LINKED)
def test_what_is_behind_a_link_stays(tmp_path, precious, place):
    link = tmp_path / "state/models/m" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    before = everything_below(precious)
    work_in(tmp_path / "state")
    assert set(before) <= set(everything_below(precious))


@pytest.mark.parametrize(
    "place", ["jobs", "patches", "reservoir", "reports", "reservoir/parts", "reservoir/parts/1"]
)
@pytest.mark.parametrize("thing", ["file", "pipe", "broken link", "circular link"])
def test_something_else_in_the_place_of_a_folder_costs_no_start(tmp_path, place, thing):
    path = tmp_path / "state/models/m" / place
    path.parent.mkdir(parents=True)
    match thing:
        case "file":
            path.write_text("mine")
        case "pipe":
            os.mkfifo(path)
        case "broken link":
            path.symlink_to(tmp_path / "nowhere")
        case "circular link":
            path.symlink_to(path)
    if place == "patches" and "link" in thing:  # the patches are elsewhere: their disk may not be mounted yet
        with pytest.raises(StateError, match="state directory"):
            work_in(tmp_path / "state")
        return
    work_in(tmp_path / "state")
    if place in ("jobs", "patches") and thing == "file":
        assert path.is_dir()
        assert path.with_name(f"{path.name}.set-aside").read_text() == "mine"


def test_a_folder_of_patches_may_be_on_another_disk(tmp_path, precious):
    (tmp_path / "state/models/m").mkdir(parents=True)
    (tmp_path / "state/models/m/patches").symlink_to(precious)
    assert ModelState.open(tmp_path / "state", "m").patches.is_symlink()


def test_nothing_is_overwritten_when_it_is_set_aside(tmp_path):
    for words in ("first", "second", "third"):
        (tmp_path / "jobs").write_text(words)
        make_folder(tmp_path / "jobs")
        (tmp_path / "jobs").rmdir()
    names = ("jobs.set-aside", "jobs.set-aside-2", "jobs.set-aside-3")
    assert [(tmp_path / name).read_text() for name in names] == ["first", "second", "third"]


def test_the_folder_of_a_model_that_is_a_file_is_set_aside(tmp_path):
    (tmp_path / "models").write_text("mine")
    ModelState.open(tmp_path, "m")
    assert (tmp_path / "models.set-aside").read_text() == "mine"


def test_notes_of_passed_models_are_not_pruned_behind_a_link(tmp_path, precious):
    for number in range(300):
        (precious / f"{number}").touch()
    (tmp_path / "opened").symlink_to(precious)
    PassedModels(tmp_path / "opened").note("key", Protection(1, has_seccomp=True))
    assert PassedModels(tmp_path / "opened").find("key") is not None
    assert len(list(precious.iterdir())) >= 300


@pytest.mark.parametrize("path", ["", "../precious", "a/../../precious"])
def test_removes_nothing_outside_of_the_folder(tmp_path, precious, path):
    folder = tmp_path / "state"
    folder.mkdir()
    with pytest.raises(ValueError, match="not below"):
        remove(folder / path, below=folder)
    assert folder.exists()
    assert precious.exists()


def test_a_link_goes_and_its_target_stays(tmp_path, precious):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/link").symlink_to(precious)
    remove(tmp_path / "state/link", below=tmp_path / "state")
    assert everything_below(tmp_path / "state") == []
    assert (precious / "albums/a.jpg").exists()
