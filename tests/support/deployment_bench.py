"""Patches of one model on a real model state, with fake engines."""

import hashlib
import shutil

import orjson

from edge_runtime.datatypes import Generation
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.inference.engine_slot import EngineSlot
from tests.support.fake_engine import FakeEngine

BASE = Generation("parts/1")


class DeploymentBench:
    def __init__(self, tmp_path):
        self.model_state = ModelState.open(tmp_path, "parts")
        self.slot = EngineSlot(BASE, FakeEngine())
        self.refuse, self.built = {}, []
        self.deployment = Deployment(Rollout(BASE), self.slot, self.model_state, self.build)

    def build(self, model):
        data = None if model is None else model.model.data
        if data in self.refuse:
            raise self.refuse[data]
        self.built.append(FakeEngine())
        return self.built[-1]

    def adopt(self, model=b"patched"):
        patch_id = self.model_state.make_patch_id()
        folder = self.model_state.jobs / "patch"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model)
        report = {"model_sha256": hashlib.sha256(model).hexdigest(), "cause": "drift alarm"}
        (folder / "report.json").write_bytes(orjson.dumps(report))
        self.model_state.adopt(folder, patch_id)
        return patch_id

    def activate(self, model=b"patched"):
        return self.deployment.activate(self.adopt(model))

    def break_record(self):
        record = self.model_state.folder / "active.json"
        record.unlink(missing_ok=True)
        (record / "in the way").mkdir(parents=True)

    def repair_record(self):
        shutil.rmtree(self.model_state.folder / "active.json")

    def assert_agrees(self, generation):
        assert self.slot.generation == generation
        assert self.deployment.state.active == generation
        assert self.model_state.load_rollout("parts/1").active == generation
