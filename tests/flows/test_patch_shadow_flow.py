"""Patches on a whole daemon: one whose answers are no numbers is refused in the shadow, a sound one becomes active.

Then the camera drifts, and commands are answered with what became of a dry run and of a real recalibration.
"""

import numpy as np
import onnx
import orjson
import pytest

import calibration
from calibration.baseline.baseline import Baseline
from calibration.targets.base import ModelFiles
from edge_runtime.cli.remote import send_command
from edge_runtime.config import load_address
from edge_runtime.daemon.wiring.recalibration import identify_bundle
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.recalibration.baselines.store import BaselineStore
from edge_runtime.system.atomic_file import write_atomically
from tests.support.bundle_models import png
from tests.support.command_line import run_command
from tests.support.mosquitto import Mosquitto
from tests.support.onnx_nets import hazy
from tests.support.small_site import frames_of, small_bundle
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


def without_numbers(files):
    """The model with answers that are no numbers."""
    model = onnx.load_from_string(files.data)
    graph, name = model.graph, model.graph.output[0].name
    last = next(node for node in graph.node if name in node.output)
    last.output[0] = "finite"
    graph.initializer.append(onnx.numpy_helper.from_array(np.float32(np.nan), "nan"))
    graph.node.append(onnx.helper.make_node("Mul", ["finite", "nan"], [name]))
    return ModelFiles(model.SerializeToString())


class Site:
    """A box whose baseline was recorded, and whose patches were accepted by the gate before."""

    def __init__(self, box, broker):
        self.box, self.broker, self.bundle = box, broker, small_bundle(box.folder)
        self.state, identity = ModelState.open(box.state, "parts"), identify_bundle(self.bundle)
        normalise = PicturePreprocessor(self.bundle.manifest.preprocess).normalise
        model = self.bundle.model_files
        self.baseline = calibration.profile(
            model,
            np.stack([normalise(frame) for frame in frames_of(64, 100)]),
            facts=calibration.BaselineFacts(preprocessing=identity.preprocessing, bundle=self.bundle.id),
        )
        self.state.put_probe(self.baseline.model_sha256, calibration.probe_files(model))
        BaselineStore(self.state.baselines).put(self.baseline)
        self.show("pictures", frames_of(40, 200))

    def show(self, folder, frames):
        """Pictures of a camera, or of a reference set; those of before are written over."""
        (self.box.folder / folder).mkdir(exist_ok=True)
        for number, frame in enumerate(frames):
            write_atomically(self.box.folder / folder / f"{number:02}.png", png(frame))

    def send(self, verb, **arguments):
        """As ``edge-runtime send`` does."""
        return send_command(load_address(self.box.file, {}), verb, arguments, timeout_s=WAIT_S)

    def read_state(self):
        """What the daemon keeps of the model, but pictures of the reservoir and reports of dry runs."""
        found = {path.relative_to(self.state.folder): path for path in self.state.folder.rglob("*")}
        return {
            name: path.read_bytes()
            for name, path in found.items()
            if path.is_file() and name.parts[0] not in ("reservoir", "dry-runs")
        }

    def count(self):
        """What a recalibration that is no dry run would change in the status."""
        model = self.box.status()["models"]["parts"]
        names = ("generation", "proposal", "shadow", "recalibrations", "accepted", "refused", "failed")
        counts = {name: model["recalibration"][name] for name in (*names, "not_possible", "last_report")}
        return {"answers": model["generation"], **counts}

    def write(self, **model):
        """The configuration; another model section opens the model again."""
        camera = {
            "path": str(self.box.folder / "pictures"),
            "model": "parts",
            "fps": 30,
            "loop": True,
            "recordings": True,
        }
        rollout = {"shadow": {"cpu": 1}, "limits": {"latency_ms": 60_000}}
        self.box.write(
            models={"parts": {"bundle": str(self.bundle.path), "rollout": rollout, **model}},
            cameras={"belt": camera},
            recalibration={
                "shadow_frames": 20,
                "on_drift": False,
                "distillation": "off",
                "reference": {"frames": 40, "sets": {"haze": str(self.box.folder / "haze")}},
            },
            drift={"window_frames": 16, "sample_every_s": 0.03},
            mqtt={"host": self.broker.host, "port": self.broker.port, "commands": True},
            sink={},
        )

    def accept(self, files):
        """As if the gate had accepted this model just before the model was opened.

        It is one of an earlier version, whose answers to golden pictures were not kept: the shadow alone looks at it.
        """
        patch_id, made = self.state.make_patch_id(), self.state.jobs / "patch"
        made.mkdir()
        (made / "model.onnx").write_bytes(files.data)
        known = {"baseline_id": self.baseline.id, "cause": "command"}
        (made / "report.json").write_bytes(orjson.dumps({**known, "model_sha256": files.sha256}))
        self.state.adopt(made, patch_id)
        proposal = {"patch": patch_id, "bundle": self.bundle.id, "candidate": "input", "score": None}
        note = orjson.dumps({**proposal, **known, "at_wall_s": 1000.0, "report": None})
        (self.state.folder / "proposal.json").write_bytes(note)

    def wait_for(self, patch, outcome):
        """What the daemon says of the shadow's end."""
        assert until(lambda: outcome in self.said(patch), 60), (self.said(patch), self.box.log())
        return next(data for data in self.shadows() if (data["patch"], data["outcome"]) == (patch, outcome))

    def shadows(self):
        return [event["data"] for event in self.box.events() if event["event"] == "shadow"]

    def said(self, patch):
        return [data["outcome"] for data in self.shadows() if data["patch"] == patch]

    def generations(self):
        return {one["generation"] for one in self.box.results()}


@pytest.fixture
def site(box, tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        yield Site(box, broker)


def test_a_patch_without_numbers_is_refused_and_a_sound_one_becomes_active(box, site):
    model = site.bundle.model_files
    site.accept(without_numbers(model))
    site.write()
    box.start()
    end = site.wait_for("p1", "refused")
    assert (end["findings"]["failures"]["verdict"], end["active"]) == ("fail", "small/1")
    assert box.get(f"/reports/{end['report']}").status_code == 200
    status = box.status()["models"]["parts"]
    assert (status["generation"], status["recalibration"]["shadow"]) == ("small/1", None)
    assert status["recalibration"]["refused"] == 1
    assert site.generations() == {"small/1"}

    assert until(lambda: not (site.state.folder / "proposal.json").exists())  # that of the first
    site.accept(model)
    site.write(threads=1)
    end = site.wait_for("p2", "active")
    assert end["generation"] == "small/1+p2"
    assert until(lambda: "small/1+p2" in site.generations())
    assert site.generations() == {"small/1", "small/1+p2"}
    assert not any("arm" in one for one in box.results())
    status = box.status()["models"]["parts"]
    assert (status["lost_to_errors"], status["dropped_oldest"], status["engine_errors"]) == (0, 0, 0)

    check_dry_run_and_real_one(box, site)


def check_dry_run_and_real_one(box, site):
    """The camera gets hazy: a dry run changes nothing, a real recalibration goes through the shadow."""
    assert site.send("rollback")["data"] == {"generation": "small/1"}
    site.show("pictures", frames_of(40, 200, hazy))
    site.show("haze", frames_of(40, 300, hazy))
    assert until(lambda: "drift" in {event["event"] for event in box.events()}), box.log()
    counts, files = site.count(), site.read_state()
    answer = site.send("recalibrate", dry_run=True, reference="haze", timeout_s=WAIT_S)
    end = answer["data"]
    assert (end["outcome"], end["accepted"], end["reference"]) == ("dry_run", True, "haze"), end
    assert (site.count(), site.read_state()) == (counts, files)
    assert box.get(f"/reports/{end['report']}").status_code == 200

    end = site.send("recalibrate", timeout_s=WAIT_S)["data"]
    assert (end["outcome"], end["patch"], end["reference"]) == ("accepted", "p3", "live"), end
    assert until(lambda: "small/1+p3" in site.generations())
    events = [event["data"] for event in box.events() if event["event"] == "recalibration"]
    assert [event["outcome"] for event in events[:2]] == ["accepted", "dry_run"]
    check_recording(box)


def check_recording(box):
    """What the patch answers is answered alike elsewhere, with the patch that the recording has."""
    out = box.folder / "recording"
    code, said = run_command("record", box.file, "--out", out, "--frames", 10, "--json")
    recorded = orjson.loads(said)
    assert code == 0
    assert recorded["ended"]["counts"]["frames"] == 10
    assert recorded["models"]["parts"]["generation"] == "small/1+p3"
    code, said = run_command("replay", out, "--json")
    [model] = orjson.loads(said)["models"]
    assert code == 0
    assert (model["compared"], model["same"], model["generations"]) == (10, 10, {"small/1+p3": 10})
    baseline = Baseline.load(out / "baselines" / "parts.safetensors")
    assert baseline.healthy_samples is None
