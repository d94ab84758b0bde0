"""Settings that do nothing and fall-backs that were taken are said, and nothing else is."""

from dataclasses import dataclass

import pytest

from edge_runtime.config import ModelConfig
from edge_runtime.deployment.opening_notes import find_engine_notes, find_recalibration_notes, is_on
from edge_runtime.inference.engines.base import TensorSpec
from edge_runtime.inference.engines.threads import CpuBudget, ThreadPlan
from edge_runtime.inference.specs import AnomalySpec, RawSpec
from edge_runtime.system.cpu_topology import Core, CpuTopology
from tests.support.signal_bundles import CHANNELS, signal_spec

ORT = "onnxruntime 1.32.0 CPU, intra 1, inter 1, no spinning"
ORT_CUDA = "onnxruntime 1.32.0 CUDA, CPU, intra 1, inter 1, no spinning"
OPENVINO = "openvino 2026.4.0 CPU, precision f32, streams 1, threads 1"
TORCH = "torch 2.9.0+cpu cpu, intra 1, frozen, channels last"
TORCH_CUDA = "torch 2.9.0 cuda:0, intra 1, precision f16, frozen"


@dataclass
class Opened:
    """The part of an engine that notes are made from."""

    runs_on: str
    batch: int | None = None

    @property
    def input(self):
        return TensorSpec("x", "float", (self.batch, 3, 8, 8))


def notes(runs_on, *, threads=1, axis=None, **model):
    topology = CpuTopology(tuple(Core((cpu,), is_little=False) for cpu in (0, 1)))
    budget = CpuBudget(2.0, 2, None, "2 cores", topology)
    found = find_engine_notes(
        ModelConfig.model_validate({"bundle": "parts", **model}),
        Opened(runs_on, axis),
        ThreadPlan(threads, 1, "test"),
        budget,
    )
    return [note.partition(":")[0] for note in found]


@pytest.mark.parametrize(
    ("runs_on", "engine", "expected"),
    [
        (ORT, {}, []),
        (ORT, {"precision": "bf16"}, ["engine.precision"]),
        (ORT, {"cache": True}, ["engine.cache"]),
        (ORT, {"devices": ["CUDA", "CPU"]}, ["engine.devices"]),
        (ORT_CUDA, {"devices": ["CUDA", "CPU"]}, []),
        (OPENVINO, {"precision": "bf16"}, ["engine.precision"]),
        (OPENVINO.replace("f32", "bf16"), {"precision": "bf16", "cache": True}, []),
        (OPENVINO, {"devices": ["GPU", "CPU"]}, ["engine.devices"]),
        (OPENVINO, {"devices": ["AUTO:GPU,CPU", "CPU"]}, []),
        (OPENVINO, {"pin_threads": True}, ["engine.pin_threads"]),
        (TORCH, {"precision": "f16"}, ["engine.precision"]),
        (TORCH.replace("intra 1", "intra 1, precision bf16"), {"precision": "bf16"}, []),
        (TORCH_CUDA, {"precision": "f16", "devices": ["CUDA:0", "CPU"]}, []),
        (TORCH, {"devices": ["CUDA", "CPU"]}, ["engine.devices"]),
    ],
)
def test_an_engine_setting_without_effect_is_named(runs_on, engine, expected):
    assert notes(runs_on, engine=engine) == expected


def test_more_threads_than_the_box_has_are_named():
    assert notes(ORT, threads=64) == ["threads"]
    assert notes(ORT, threads=2) == []


def test_batches_of_a_model_that_takes_single_pictures_are_named():
    assert notes(ORT, axis=1, batch={"max_batch_size": 4}) == ["batch.max_batch_size"]
    assert notes(ORT, axis=None, batch={"max_batch_size": 4}) == []
    assert notes(ORT, axis=1) == []


@pytest.mark.parametrize(
    ("device", "runs_on"),
    [("GPU", "openvino 2026.4.0 GPU.0, precision f32"), ("TensorRT", "onnxruntime 1 Tensorrt, CPU")],
)
def test_a_device_is_recognised_in_the_words_of_its_engine(device, runs_on):
    assert is_on(device, runs_on)
    assert not is_on("NPU", runs_on)


@pytest.mark.parametrize(
    ("recalibrate", "threshold", "count"), [(False, None, 1), (True, None, 0), (False, 0.5, 0)]
)
def test_a_threshold_that_never_comes_is_said(recalibrate, threshold, count):
    spec = AnomalySpec(task="anomaly", score="output", threshold=threshold)
    model = ModelConfig.model_validate({"bundle": "parts", "recalibrate": recalibrate})
    assert len(list(find_recalibration_notes(model, signal_spec(), spec))) == count


@pytest.mark.parametrize(
    ("postprocess", "recalibrate", "count"),
    [
        (RawSpec(task="raw"), True, 1),
        (RawSpec(task="raw"), False, 0),
        (AnomalySpec(task="anomaly", score="output"), True, 1),
    ],
    ids=["raw", "raw and off", "anomaly"],
)
def test_a_model_with_several_inputs_says_that_it_is_not_recalibrated(postprocess, recalibrate, count):
    spec = signal_spec(inputs=[{"name": name, "channels": [name]} for name in CHANNELS])
    model = ModelConfig.model_validate({"bundle": "parts", "recalibrate": recalibrate})
    assert len(list(find_recalibration_notes(model, spec, postprocess))) == count
