"""Going back to the base needs nothing from the bundle's folder: a damaged disk must not keep a bad patch."""

import hashlib
import shutil

import numpy as np
import orjson
import pytest
import safetensors.numpy

from edge_runtime.config import Config
from edge_runtime.daemon.wiring.models import build_engine
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.model_state import ANSWERS_FILE, ModelState
from edge_runtime.deployment.open_bundle import open_bundle
from edge_runtime.deployment.rollout import Rollout, Step
from edge_runtime.errors import EngineError
from edge_runtime.inference.engine_slot import EngineSlot
from tests.support.bundle_builds import build
from tests.support.bundle_models import SIDE, small_model

pytestmark = pytest.mark.integration

BASE = Generation("small/1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    build(folder / "bundles", small_model())
    open_base(folder).engine.close()  # notes that the model passed its first opening
    return folder


def open_base(folder):
    model = {"bundle": str(folder / "bundles" / "small")}
    cameras = {"c": {"path": "demo:conveyor", "model": "m"}}
    return open_bundle(
        Config.model_validate(
            {"device": "box", "state_dir": str(folder / "state"), "models": {"m": model}, "cameras": cameras}
        ),
        "m",
    )


class Site:
    """A base that was opened, its deployment, and two patches of it."""

    def __init__(self, folder):
        self.bundle = folder / "bundles" / "small" / "1"
        self.opened = open_base(folder)
        self.state = ModelState.open(folder / "state", "m")
        self.slot = EngineSlot(BASE, self.opened.engine)
        self.deployment = Deployment(
            Rollout(BASE), self.slot, self.state, lambda patched: build_engine(self.opened, patched)
        )

    def add_patch(self, patch_id):
        model, folder = small_model(), self.state.jobs / patch_id
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model)
        (folder / "report.json").write_bytes(
            orjson.dumps({"model_sha256": hashlib.sha256(model).hexdigest()})
        )
        safetensors.numpy.save_file(dict(self.opened.answers), folder / ANSWERS_FILE)
        self.state.adopt(folder, patch_id)


@pytest.fixture
def site(made, tmp_path):
    shutil.copytree(made, tmp_path / "box")
    site = Site(tmp_path / "box")
    for patch_id in ("p1", "p2"):
        site.add_patch(patch_id)
        site.deployment.activate(patch_id)
    yield site
    site.slot.close()


def put_other_bundle(folder):
    shutil.rmtree(folder)
    build(folder.parents[1], small_model(seed=3))


LOSSES = {
    "golden pictures": lambda folder: shutil.rmtree(folder / "golden"),
    "one golden picture": lambda folder: (folder / "golden/g0.png").write_bytes(b"other"),
    "golden answers": lambda folder: [path.unlink() for path in (folder / "golden").glob("*.safetensors")],
    "manifest": lambda folder: (folder / "bundle.yaml").unlink(),
    "model": lambda folder: (folder / "model.onnx").write_bytes(b""),
    "everything": shutil.rmtree,
    "everything, and something else is there": put_other_bundle,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_step_works_although_the_bundles_folder_is_damaged(site, loss):
    LOSSES[loss](site.bundle)
    assert site.deployment.take_back(Step.ROLL_BACK)[1] == Generation("small/1", "p1")
    assert site.deployment.take_back(Step.ROLL_BACK)[1] == BASE
    assert site.deployment.activate("p1") == Generation("small/1", "p1")
    assert site.deployment.take_back(Step.TO_BASE) == (Generation("small/1", "p1"), BASE)
    assert site.slot.generation == BASE
    assert site.state.load_rollout("small/1").active == BASE


@pytest.mark.parametrize("loss", ["patch p1", "patches and golden pictures"])
def test_a_previous_patch_that_is_gone_too_leads_to_the_base(site, loss):
    shutil.rmtree(site.state.patches / "p1")
    if loss != "patch p1":
        shutil.rmtree(site.bundle / "golden")
    assert site.deployment.take_back(Step.ROLL_BACK)[1] == BASE


def test_a_base_that_answers_otherwise_than_at_the_start_is_not_used(site):
    answers = {name: array + 1 for name, array in site.opened.answers.items()}
    object.__setattr__(site.opened, "answers", answers)
    with pytest.raises(EngineError, match="otherwise"):
        site.deployment.take_back(Step.TO_BASE)
    assert site.slot.generation == Generation("small/1", "p2")


def test_only_the_pictures_that_are_compared_are_kept_in_memory(site):
    kept = site.opened.bundle.kept
    assert sorted(kept) == ["golden/g0.png", "golden/g1.png"]
    assert sum(map(len, kept.values())) < 100 * SIDE * SIDE
    assert all(np.isfinite(array).all() for array in site.opened.answers.values())
