"""``edge-runtime baseline`` on the state directory of a box without a broker, and what it sends to one with."""

from dataclasses import replace

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

import calibration
from calibration.baseline.metadata import BaselineFacts
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.main import cli
from edge_runtime.daemon.wiring.recalibration import identify_bundle
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.recalibration.baselines.store import BaselineStore
from edge_runtime.system.state_lock import lock_state_dir
from tests.support.paths import DEMO

BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"


@pytest.fixture(scope="module")
def made():
    """Two baselines of the demo's model."""
    bundle, rng = load_bundle(BUNDLE), np.random.default_rng(0)
    facts = BaselineFacts(preprocessing=identify_bundle(bundle).preprocessing, bundle=bundle.id)
    x = rng.uniform(-1, 1, (16, 3, 224, 224)).astype(np.float32)
    return [calibration.snapshot(bundle.model_files.data, part).with_facts(facts) for part in (x[:8], x[8:])]


@pytest.fixture
def box(tmp_path, made):
    """A box with one baseline, named day."""
    content = {
        "device": "box",
        "state_dir": str(tmp_path / "state"),
        "models": {"parts": {"bundle": "demo:efficientnet-lite0"}},
        "cameras": {"belt": {"path": "demo:conveyor", "model": "parts"}},
    }
    (tmp_path / "box.yaml").write_bytes(orjson.dumps(content))
    model_state = ModelState.open(tmp_path / "state", "parts")
    BaselineStore(model_state.baselines).put(made[0].rename("day"))
    return tmp_path


def run(box, verb, *words):
    done = CliRunner().invoke(cli, ["baseline", verb, str(box / "box.yaml"), *words])
    return done, (orjson.loads(done.stdout)["data"] if "--json" in words and done.stdout else None)


def test_lists_what_is_there_for_people_and_machines(box):
    _, data = run(box, "list", "--json")
    assert list(data["baselines"]) == ["day"]
    assert data["baselines"]["day"]["bundle"] == "efficientnet-lite0/1"
    assert "day: 8" in run(box, "list")[0].output


def test_expires_approves_and_removes(box):
    assert run(box, "expire", "day", "--json")[1]["is_expired"] is True
    assert "EXPIRED" in run(box, "list")[0].output
    assert run(box, "approve", "day", "--expires-days", "30", "--json")[1]["is_expired"] is False
    run(box, "remove", "day")
    assert run(box, "list", "--json")[1]["baselines"] == {}


def test_the_former_word_for_approve_is_understood(box):
    run(box, "expire", "day")
    done, data = run(box, "bless", "day", "--json")
    assert data["is_expired"] is False
    assert "approve" in done.stderr


def test_a_running_daemon_is_not_surprised(box):
    with lock_state_dir(box / "state"):
        assert "another daemon uses" in str(run(box, "expire", "day")[0].exception)
        assert run(box, "list")[0].exit_code == 0


def test_a_pooled_baseline_is_put_to_use_with_all_it_needs(box, made):
    calibration.pool(made).save(box / "pooled.safetensors")
    _, data = run(box, "add", str(box / "pooled.safetensors"), "--name", "fleet", "--json")
    assert (data["added"], data["frames"]) == ("fleet", 16)
    assert set(run(box, "list", "--json")[1]["baselines"]) == {"day", "fleet"}
    assert ModelState.open(box / "state", "parts").probe_path(made[0].model_sha256).is_file()


def test_a_baseline_of_another_model_is_refused(box, made):
    replace(made[0], model_sha256="b" * 64).save(box / "other.safetensors")
    done, _ = run(box, "add", str(box / "other.safetensors"))
    assert "bbbbbbbbbbbb" in str(done.exception)
    assert list(run(box, "list", "--json")[1]["baselines"]) == ["day"]


def test_an_unknown_model_or_baseline_is_named(box):
    assert "'night'" in str(run(box, "approve", "night")[0].exception)
    assert "'x'" in str(run(box, "list", "--model", "x")[0].exception)
