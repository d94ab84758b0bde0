"""Recipes of nets with several inputs become bundles that verify and answer, from every kind of model."""

import numpy as np
import pytest
import torch

from edge_runtime.bundles.build.export import export_torchscript
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.offline import answer_files, calibrate_bundle, inspect_bundle, verify_bundle
from edge_runtime.errors import BundleError, ConfigError
from edge_runtime.inference.engines.factory import DEFAULTS
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.engines.parts import parts_of
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.engines.torchscript_engine import TorchScriptEngine
from edge_runtime.inference.preprocess import make_preprocessor
from tests.support.signal_bundles import LABELS, signal_model
from tests.support.two_inputs import CONTEXT_WEIGHT, INPUTS, TwoInputAuthor, two_input_spec, two_input_windows

pytestmark = pytest.mark.integration


class Unscriptable(torch.nn.Module):
    """The mean of one input less the first number of the other, with a call of numpy, which torch cannot script."""

    def forward(self, context, vibration):
        return vibration.mean((1, 2)) - float(np.ones(())) * context[:, 0]


@pytest.fixture
def author(tmp_path):
    return TwoInputAuthor(tmp_path)


def right_labels(windows):
    spec = two_input_spec()
    normalise = make_preprocessor(spec).normalise
    tensors = np.stack([normalise(window.T.astype(np.float32)) for window in windows])
    of_vibration = OnnxEngine(signal_model()).infer(np.ascontiguousarray(tensors[:, 1:4]))["logits"]
    logits = of_vibration + tensors[:, [4, 0], -1] @ CONTEXT_WEIGHT.T
    return [LABELS[at] for at in logits.argmax(axis=1)]


@pytest.mark.parametrize(
    ("kind", "become"),
    [
        ("onnx", "onnx"), ("onnx", "openvino"), ("openvino", "openvino"), ("torchscript", "torchscript"),
        ("torchscript", "openvino"), ("checkpoint", "onnx"),
    ],
)  # fmt: skip
def test_every_kind_of_model_becomes_a_bundle_that_verifies_and_answers(author, kind, become):
    author.model(kind)
    built = author.build(formats=[become])
    assert built.format == become
    assert verify_bundle(built.path)["windows"] == 4
    found = list(answer_files(built.path, sorted(author.windows("new", 16, seed=11).iterdir())))
    labels = [one["top"][0]["label"] for one in found]
    assert labels == right_labels(two_input_windows(16, seed=11))
    assert len(set(labels)) > 2


def test_a_bundle_says_why_it_has_no_moments_and_which_channels_an_input_takes(author):
    author.model("onnx")
    author.windows("calibration", 30, seed=21)
    built = author.build(calibration="calibration")
    manifest = load_bundle(built.path).manifest
    assert manifest.calibration.moments is None
    assert "context" in manifest.calibration.no_moments
    assert manifest.preprocess.inputs == two_input_spec().inputs
    assert built.notes
    assert list(inspect_bundle(built.path)["calibration"]) == ["recalibration"]
    with pytest.raises(BundleError):
        calibrate_bundle(built.path, author.folder / "calibration", None, None, None, 0)


def test_int8_is_refused_before_any_work(author):
    author.model("onnx")
    author.windows("calibration", 30, seed=21)
    heard = []
    with pytest.raises(BundleError, match="quantize: none"):
        author.build(quantize="int8", calibration="calibration", tell=heard.append)
    assert len(heard) == 1


def test_a_net_that_can_only_be_traced_is_exported_by_the_names_of_its_arguments():
    spec = two_input_spec()
    found = export_torchscript(Unscriptable(), spec.tensor_shape, parts_of(spec))
    engine = TorchScriptEngine(
        found.data, spec.tensor_shape, ThreadPlan(1, 1, "test"), DEFAULTS, parts_of(spec)
    )
    windows = np.random.default_rng(0).normal(size=(3, 5, 256)).astype(np.float32)
    expected = windows[:, 1:4].mean(axis=(1, 2)) - windows[:, 4, -1]
    np.testing.assert_allclose(engine.infer(windows)["output"], expected, rtol=1e-4, atol=1e-5)


def test_a_channel_without_an_input_is_a_problem_of_the_recipe(author):
    author.model("onnx")
    preprocess = {**author.keys["preprocess"], "inputs": [INPUTS[0], {**INPUTS[1], "channels": ["load"]}]}
    with pytest.raises(ConfigError) as caught:
        author.build(preprocess=preprocess)
    assert [problem.where for problem in caught.value.problems] == ["preprocess"]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        *(
            (kind, change)
            for kind in ("onnx", "torchscript")
            for change in ("another name", "no inputs", "other channels")
        ),
        ("openvino", "another name"),
        ("checkpoint", "another name"),
    ],
)
def test_inputs_that_are_not_the_models_are_refused_before_anything_is_written(author, kind, change):
    author.model(kind)
    preprocess = dict(author.keys["preprocess"])
    context = {**INPUTS[1], "name": "contxt"}
    preprocess |= {
        "another name": {"inputs": [INPUTS[0], context]},
        "no inputs": {"inputs": []},
        "other channels": {
            "inputs": [
                {**INPUTS[0], "channels": ["ax", "ay"]},
                {**INPUTS[1], "channels": ["load", "temp", "az"]},
            ]
        },
    }[change]
    with pytest.raises(BundleError):
        author.build(preprocess=preprocess)
    assert not list((author.folder / "bundles").glob("*/*"))
