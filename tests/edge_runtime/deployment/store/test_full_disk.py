"""A disk that is full, at every size that it may have had left, and two commands at once."""

import errno
import multiprocessing
import os
import resource
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_runtime.deployment.store.install import Outcome, install
from edge_runtime.deployment.store.place import open_to_change
from edge_runtime.errors import BundleError, StateError
from tests.support.bundle_store import look, make_bundle, pack
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration


@pytest.fixture
def box(tmp_path):
    install(make_bundle(tmp_path / "one"), tmp_path / "bundles")
    make_bundle(tmp_path / "two", version=2)
    return tmp_path


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KiB where the kernel lets us mount one; else None."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, timeout=WAIT_S).returncode != 0:
        yield None
        return
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=WAIT_S)


def test_a_real_file_system_without_space_keeps_its_store(box, small_disk):
    """Where none can be mounted, the limits of the next test stand for it."""
    if small_disk is None:
        return
    root = small_disk / "bundles"
    install(box / "one", root)
    free, before = os.statvfs(root), look(root)
    (small_disk / "fill").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - 8192)))
    for source in (box / "two", pack(box / "two", box / "two.tar.gz")):
        with pytest.raises(StateError) as caught:
            install(source, root)
        assert caught.value.__cause__.errno == errno.ENOSPC
        assert look(root) == before
    (small_disk / "fill").unlink()
    assert install(box / "two", root).outcome is Outcome.INSTALLED


def test_a_file_that_cannot_grow_leaves_the_store_as_it_was(box):
    """RLIMIT_FSIZE cuts every write there, as a full disk or a quota does."""
    before, limits = look(box / "bundles"), resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in (box / "two").rglob("*"))
    for bound in (0, 1, largest // 2, largest - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, limits[1]))
        try:
            with pytest.raises(StateError):
                install(box / "two", box / "bundles")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert look(box / "bundles") == before
    assert install(box / "two", box / "bundles").outcome is Outcome.INSTALLED


@pytest.mark.parametrize("call", ["fsync", "mkdir", "chmod", "rename", "utime"])
def test_every_call_that_the_disk_refuses_leaves_the_store_as_it_was(box, monkeypatch, call):
    before, refused = look(box / "bundles"), []
    number = 0

    def install_with_refusal(at):
        nonlocal number
        number, real = 0, getattr(os, call)

        def refuse(*arguments, **keys):
            nonlocal number
            number += 1
            if number == at:
                refused.append(at)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")
            return real(*arguments, **keys)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            install(box / "two", box / "bundles")

    at = 1
    while True:
        try:
            install_with_refusal(at)
            break
        except StateError:
            at += 1
            left = look(box / "bundles")
            if left != before:  # the fsync after the rename: the new version is there, whole
                assert call == "fsync"
                assert install(box / "two", box / "bundles").outcome is Outcome.ALREADY_THERE
                break
    assert refused
    assert install(box / "two", box / "bundles").outcome is Outcome.ALREADY_THERE


def _install(source, root, barrier, answers):
    barrier.wait(WAIT_S)
    try:
        answers.put(str(install(Path(source), Path(root)).outcome))
    except BundleError:
        answers.put("refused")


@pytest.mark.parametrize("other", ["the same", "other content"])
def test_two_installations_at_once_do_not_meet(box, other):
    make_bundle(box / "three", version=2, note="" if other == "the same" else "other")
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_install, args=(str(box / source), str(box / "bundles"), barrier, answers))
        for source in ("two", "three")
    ]
    for process in processes:
        process.start()
    found = {answers.get(timeout=WAIT_S) for _ in processes}
    for process in processes:
        process.join(WAIT_S)
        assert process.exitcode == 0
    assert found == {"installed", "already installed" if other == "the same" else "refused"}
    assert sorted(path.name for path in (box / "bundles").iterdir()) == [".lock", "photos"]


def test_one_that_waits_too_long_says_so_and_one_that_can_wait_gets_its_turn(box):
    root = box / "bundles"
    with open_to_change(root), pytest.raises(StateError):
        install(box / "two", root, wait_s=0)
    with ThreadPoolExecutor(1) as pool:
        with open_to_change(root):
            waiting = pool.submit(install, box / "two", root)
            assert not waiting.done()
        assert waiting.result(WAIT_S).outcome is Outcome.INSTALLED
