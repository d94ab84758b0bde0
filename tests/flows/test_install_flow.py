"""Versions are installed while a daemon with ``version: latest`` runs: it never sees half of one."""

import subprocess
import sys
import threading

import pytest

from edge_runtime.bundles.verify import load_bundle
from edge_runtime.deployment.store.install import Rules, install
from edge_runtime.deployment.store.keep import Keep
from edge_runtime.deployment.versions import list_candidates
from edge_runtime.errors import BundleError
from tests.support.bundle_store import make_bundle, pack
from tests.support.daemon_box import Box, conveyor
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path)
    box.write(models={"parts": {"bundle": "photos"}}, cameras=conveyor())
    yield box
    if box.process is not None and box.process.poll() is None:
        box.process.kill()
        box.process.wait(WAIT_S)


def test_a_daemon_that_skipped_a_version_takes_the_one_that_is_installed(box):
    root = box.state / "bundles"
    install(make_bundle(box.folder / "one"), root)
    (root / "photos" / "2").mkdir()  # a copy that broke off
    box.start()
    assert until(box.is_ready)
    assert box.status()["models"]["parts"]["generation"] == "photos/1"
    archive = pack(make_bundle(box.folder / "three", version=3), box.folder / "three.tar.gz")
    command = [
        sys.executable,
        "-m",
        "edge_runtime",
        "bundle",
        "install",
        str(archive),
        "--config",
        str(box.file),
    ]
    subprocess.run(command, cwd=ROOT, timeout=WAIT_S, check=True)
    assert until(lambda: box.status()["models"]["parts"]["generation"] == "photos/3")
    assert until(lambda: any(result["generation"] == "photos/3" for result in box.results()))
    assert "Traceback" not in box.log()


def test_versions_that_come_and_go_are_seen_whole(tmp_path):
    root, sources = tmp_path / "bundles", [make_bundle(tmp_path / f"v{n}", version=n) for n in range(1, 8)]
    install(sources[0], root)
    seen, problems, is_over = set(), [], threading.Event()

    def look():
        while not is_over.is_set():
            newest = list_candidates(root / "photos", "latest")[0]
            try:
                seen.add(load_bundle(newest).id)
            except BundleError as err:
                problems.append(err)
                return

    looking = threading.Thread(target=look)
    looking.start()
    assert until(lambda: "photos/1" in seen or problems)
    for source in sources[1:]:
        done = install(source, root, Rules(Keep(latest=2)))
        assert until(lambda done=done: done.id in seen or problems)
    is_over.set()
    looking.join(WAIT_S)
    assert problems == []
    assert seen == {f"photos/{n}" for n in range(1, 8)}
