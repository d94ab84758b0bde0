"""kill -9 before every single change of the disk: the store is as before or as after, and the next command is clean."""

import os
import re
import shutil

import pytest

from edge_runtime.bundles.verify import load_bundle
from edge_runtime.deployment.store.in_use import InUse
from edge_runtime.deployment.store.install import Rules, install
from edge_runtime.deployment.store.installed import find_held
from edge_runtime.deployment.store.keep import Keep
from edge_runtime.deployment.store.place import WORK_PREFIX
from edge_runtime.deployment.store.remove import collect, remove
from tests.support.bundle_store import look, make_bundle, pack
from tests.support.kill_steps import kill, kill_at_every_step, list_steps

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    """The system has what a process wrote that was killed; only a power cut takes that away."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def box(tmp_path):
    """A store with version 1, version 2 to install, and how to put everything back."""
    install(make_bundle(tmp_path / "one"), tmp_path / "bundles")
    pack(make_bundle(tmp_path / "two", version=2), tmp_path / "two.tar.gz")
    return tmp_path


def visible(root):
    return {name: what for name, what in look(root).items() if not name.startswith(WORK_PREFIX)}


def whole(root):
    for _, path in find_held(root):
        load_bundle(path)


def keep_then(act, root):
    """What ``act`` makes of the store, which is put back."""
    kept = root.with_name("kept")
    shutil.copytree(root, kept)
    act()
    after = look(root)
    shutil.rmtree(root)
    kept.rename(root)
    return after


def kill_everywhere(root, act, repeat):
    """Every state of the store that a killed ``act`` leaves, but for those it sweeps; then ``repeat`` succeeds."""
    before, after, steps, seen = visible(root), keep_then(act, root), 0, []
    for steps in kill_at_every_step(act, root):
        left = visible(root)
        seen.append(left)
        assert left in (before, after), f"step {steps}"
        whole(root)
        repeat()
        assert look(root) == after, f"step {steps}"
    assert before in seen
    assert after in seen
    return steps


@pytest.mark.parametrize("source", ["two", "two.tar.gz"])
def test_an_installation_that_is_killed_leaves_the_old_or_the_new_store(box, source):
    def act():
        install(box / source, box / "bundles")

    assert kill_everywhere(box / "bundles", act, act) > 20


def test_so_does_the_first_version_of_a_name(box):
    def act():
        install(box / "two", box / "empty")

    (box / "empty").mkdir()
    assert kill_everywhere(box / "empty", act, act) > 20


def test_the_old_version_goes_whole_when_its_removal_is_killed(box):
    root = box / "bundles"
    install(box / "two", root)

    def act():
        remove(root, "photos", 1, InUse())

    def repeat():
        if (root / "photos" / "1").exists():
            act()
        collect(root, Keep(), InUse())  # sweeps

    assert kill_everywhere(root, act, repeat) > 10


def test_an_installation_that_removes_an_older_version_has_the_new_one_before(box):
    root = box / "bundles"

    def act():
        install(box / "two", root, Rules(Keep(latest=1)))

    seen = set()
    for _ in kill_at_every_step(act, root):
        seen.add(tuple(sorted(path.name for path in (root / "photos").iterdir())))
        whole(root)
        act()
        collect(root, Keep(latest=1), InUse())
        assert [path.name for path in (root / "photos").iterdir()] == ["2"]
    assert seen == {("1",), ("1", "2"), ("2",)}


def test_a_process_that_is_really_killed_leaves_what_the_other_tests_look_at(box):
    root = box / "bundles"

    def act():
        install(box / "two", root)

    def names_of(tree):
        """Work folders have names by chance."""
        return {re.sub(rf"^{re.escape(WORK_PREFIX)}[^/]+", "work", name): what for name, what in tree.items()}

    left = {step: names_of(look(root)) for step in kill_at_every_step(act, root)}
    for step in list(left)[5:-1:8]:
        remove(root, "photos", 2, InUse())
        kill(act, step)
        assert names_of(look(root)) == left[step], f"step {step}"
        act()


@pytest.mark.parametrize("root", ["bundles", "none"])
def test_every_file_and_folder_is_on_the_disk_before_the_rename_and_the_rename_after_it(box, root):
    steps = list_steps(lambda: install(box / "two", box / root))
    final = box / root / "photos" / ("2" if root == "bundles" else "")
    (at,) = [
        index
        for index, step in enumerate(steps)
        if step.startswith("os.rename") and step.endswith(f" {final}")
    ]
    before = [step.removeprefix("fsync ") for step in steps[:at] if step.startswith("fsync ")]
    synced = {"/".join(path.split("/content", 1)[1:]) for path in before if "/content" in path}
    expected = {f"/{path.relative_to(box / 'two')}" for path in (box / "two").rglob("*")}
    assert synced >= expected
    assert steps[at + 1] == f"fsync {final.parent}"
