"""A model with several inputs in the parts of a daemon: served in every form, watched and corrected in none."""

import json
import threading

import numpy as np
import pytest

from edge_runtime.cli.check import check_config
from edge_runtime.config import load_config
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.wiring.models import open_model
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CommandError
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.recalibration.task import TaskRequest
from edge_runtime.serving.oip_model import describe_model
from edge_runtime.serving.predictions import ServedModel
from edge_runtime.system.supervised_thread import Crashes
from tests.support.two_inputs import TwoInputAuthor, two_input_windows
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture(params=["onnx", "openvino"])
def site(request, tmp_path):
    """A model at work, and what its daemon says."""
    author = TwoInputAuthor(tmp_path)
    author.model(request.param)
    built = author.build()
    model = {"bundle": str(built.path.parent), "max_age_ms": None}
    sensor = {"path": "mqtt", "model": "machine"}
    keys = {
        "device": "box", "state_dir": str(tmp_path / "state"), "mqtt": {"host": "broker.example"},
        "models": {"machine": model}, "sensors": {"pump": sensor},
    }  # fmt: skip
    file = tmp_path / "box.yaml"
    file.write_text(json.dumps(keys))
    config = load_config(file, {})
    delivery = Delivery("box", lambda result: None)
    runtime = open_model(
        config, "machine", bool, delivery=delivery, crashes=Crashes(), hand_over=list, in_force=lambda: config
    )
    runtime.start()
    yield runtime, delivery, Running(config, models={"machine": runtime}), file
    assert runtime.stop()


def test_windows_are_answered_and_recalibration_is_said_to_be_off(site):
    runtime, delivery, running, _ = site
    windows = two_input_windows(12, seed=3)
    for seq, window in enumerate(windows):
        runtime.pipeline.accept(Frame("pump", seq, window, 0.0, 0.0), is_live=False, stop=threading.Event())
    assert until(lambda: len(delivery.recent_results(64)) == len(windows))
    labels = {result["top"][0]["label"] for result in delivery.recent_results(64)}
    assert len(labels) > 1
    status = runtime.status()
    assert status.recalibration is None
    assert [note.partition(":")[0] for note in status.notes] == ["recalibrate"]
    assert status.lost_to_errors == 0
    for verb in ("commission", "recalibrate"):
        with pytest.raises(CommandError, match="context"):
            running.request(TaskRequest(verb), None)


def test_the_inputs_of_the_model_are_described_by_name(site):
    runtime, *_ = site
    about = describe_model("machine", ServedModel(runtime.pipeline, runtime.bundle))
    assert about["inputs"] == [
        {"name": "vibration", "datatype": "FP32", "shape": [-1, 3, 256]},
        {"name": "context", "datatype": "FP32", "shape": [-1, 2]},
    ]
    assert np.prod(about["outputs"][0]["shape"]) == -4


def test_check_does_not_advise_to_commission_it(site):
    *_, file = site
    found = check_config(file, {})
    assert found.exit_code == 0
    assert [note.partition(": ")[0] for note in found.notes] == ["models.machine.recalibrate"]
