"""The versions that the benchmarks of rollouts put there are some that a daemon opens."""

import pytest

from benchmarks.performance.bare_runs import BUNDLE
from benchmarks.rollout.faults import Fault
from benchmarks.rollout.versions import make_root, put_version
from edge_runtime.deployment.versions import NewerVersions, list_candidates, load_version

pytestmark = pytest.mark.integration


def test_a_daemon_opens_the_first_version_and_finds_the_second(tmp_path):
    root = make_root(tmp_path, BUNDLE)
    put_version(BUNDLE, root, 1, Fault.NONE)
    put_version(BUNDLE, root, 2, Fault.LABELS)
    assert [load_version(path).manifest.version for path in list_candidates(root, "latest")] == [2, 1]
    assert NewerVersions(root).find_newest(1, ()) == 2
