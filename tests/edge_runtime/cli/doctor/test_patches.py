"""What was made for a model on this box: of this bundle, whole, in force?"""

from dataclasses import replace

import orjson
import pytest

from edge_runtime.bundles.verify import read_manifest
from edge_runtime.cli.doctor.finding import Level
from edge_runtime.cli.doctor.patches import examine_baselines, examine_patch
from edge_runtime.deployment.model_state import model_folder
from edge_runtime.recalibration.baselines.store import BaselineStore
from tests.support.baselines import two_tap_baseline
from tests.support.paths import DEMO

MANIFEST = read_manifest(DEMO / "bundle" / "efficientnet-lite0" / "1")


def find_patch(state, **active):
    folder = model_folder(state, "m")
    folder.mkdir(parents=True)
    (folder / "active.json").write_bytes(
        orjson.dumps({"bundle": "m/2", "patch": None, "previous": None} | active)
    )
    return [(one.id, one.level) for one in examine_patch(state, "m", "m/2")]


def find_baselines(state, baseline, manifest=MANIFEST):
    store = BaselineStore(model_folder(state, "m") / "baselines")
    store.folder.parent.mkdir(parents=True)
    store.put(baseline)
    return [(one.id, one.level) for one in examine_baselines(state, "m", manifest)]


@pytest.mark.parametrize(
    ("active", "expected"),
    [
        ({}, []),
        ({"bundle": "m/1", "patch": "p3"}, [("patch.stale", Level.NOTE)]),
        ({"bundle": "other/2", "patch": "p3"}, [("patch.stale", Level.NOTE)]),
        ({"patch": "p3"}, [("patch.broken", Level.PROBLEM)]),
    ],
)
def test_the_active_patch(tmp_path, active, expected):
    assert find_patch(tmp_path, **active) == expected


def test_no_note_or_a_damaged_one(tmp_path):
    assert list(examine_patch(tmp_path, "m", "m/2")) == []
    folder = model_folder(tmp_path, "m")
    folder.mkdir(parents=True)
    (folder / "active.json").write_text("{")
    assert [one.id for one in examine_patch(tmp_path, "m", "m/2")] == ["patch.broken"]


@pytest.mark.parametrize(
    ("sha256", "expires_wall_s", "expected"),
    [
        (None, None, ("baseline", Level.OK)),
        (None, 1.0, ("baseline.expired", Level.NOTE)),
        ("b" * 64, None, ("baseline.stale", Level.NOTE)),
    ],
)
def test_a_baseline(tmp_path, sha256, expires_wall_s, expected):
    baseline = two_tap_baseline()
    facts = replace(baseline.facts, expires_wall_s=expires_wall_s)
    sha256 = sha256 or MANIFEST.files[MANIFEST.model]
    assert find_baselines(tmp_path, replace(baseline, model_sha256=sha256, facts=facts)) == [expected]


def test_a_baseline_of_a_bundle_that_cannot_be_read(tmp_path):
    assert find_baselines(tmp_path, two_tap_baseline(), None) == [("baseline", Level.OK)]


def test_a_damaged_baseline(tmp_path):
    folder = model_folder(tmp_path, "m") / "baselines"
    folder.mkdir(parents=True)
    (folder / "default.safetensors").write_bytes(b"damage")
    found = list(examine_baselines(tmp_path, "m", MANIFEST))
    assert [(one.id, one.level, one.exit_code) for one in found] == [("baseline.broken", Level.PROBLEM, 65)]
