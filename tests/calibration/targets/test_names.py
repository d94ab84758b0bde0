"""Models with the tensor names that patches, observers and probes would give: the same numbers from all three."""

import numpy as np
import onnxruntime as ort
import openvino as ov
import pytest

from calibration.patch import Affine, Patch
from calibration.stats.moments import INPUT_TAP, Moments
from calibration.targets.base import Normalisation
from calibration.targets.open import open_onnx
from calibration.targets.target import Target
from tests.calibration.targets.gradient.test_names import RENAMED, net, renamed
from tests.support.onnx_nets import Floats, pictures, quantized
from tests.support.openvino_nets import ir_of, opened

pytestmark = pytest.mark.integration

X = pictures(4, size=8)

ENDINGS = (
    ("__mean", "__square", "__squares", "__centred", "__raw", "__batch_mean", "__batch_square", "__var"),
    ("__scale", "__offset", "__bias", "__bias_int32", "__bias_scale", "__zero_point", "__over_channels", "__scaled"),
    ("__corrected", "__rest", "__row_axis", "__frame_mean", "__rows", "__channels_last", "/mean", "/var", "/corrected"),
)  # fmt: skip
"""What a writer may add to the name of a tensor."""


def run_onnx(probe: bytes) -> list[Floats]:
    session = ort.InferenceSession(probe)
    return list(session.run(None, {session.get_inputs()[0].name: X[:1]}))


def run_ir(probe: bytes, weights: bytes) -> list[Floats]:
    return list(ov.Core().compile_model(ov.Core().read_model(probe, weights), "CPU")(X[:1]).values())


def moments(found: Moments) -> list[Floats]:
    return [part for tap in found.values() for part in (tap.mean, tap.var)]


def all_numbers(target: Target) -> Floats:
    """Everything that an observer, a patched model and a probe of two taps give."""
    baseline = target.observe(X).moments
    corrected = target.observe(X, Normalisation(baseline, 0.1, None)).moments
    channels = {INPUT_TAP: 3} | {tap.name: tap.channels for tap in target.taps}
    affines = {
        tap: Affine(np.full(n, 1.1, np.float32), np.full(n, 0.2, np.float32)) for tap, n in channels.items()
    }
    patch = Patch(affines, target.sha256, "b" * 16, "c", frames=8, created_wall_s=0.0)
    probe = target.probe(2)
    observed = run_ir(probe.data, probe.weights) if probe.weights else run_onnx(probe.data)
    answers = target.runner(patch)(X).values()
    return np.concatenate(
        [np.ravel(part) for part in (*moments(baseline), *moments(corrected), *answers, *observed)]
    )


def open_as(kind: str, model: bytes) -> Target:
    return opened(ir_of(model)) if kind == "ir" else open_onnx(model)


@pytest.mark.parametrize("endings", ENDINGS, ids=lambda endings: endings[0])
@pytest.mark.parametrize("tensor", ["input", "conv1", "conv2", "bn"])
@pytest.mark.parametrize("kind", ["float", "int8", "ir"])
def test_names_made_from_those_of_tensors_change_nothing(kind, tensor, endings, tmp_path):
    model = quantized(net(), tmp_path, pictures(32, size=8)) if kind == "int8" else net()
    names = dict(zip(RENAMED, (tensor + ending for ending in endings), strict=False))
    np.testing.assert_array_equal(
        all_numbers(open_as(kind, renamed(model, names))), all_numbers(open_as(kind, model))
    )


@pytest.mark.parametrize(
    "word",
    ["calibration/mean/conv", "calibration__constant_", "calibration/constant/", "calibration'/scale/"],
)
def test_numbered_names_change_nothing(word):
    names = {name: f"{word}{i}" for i, name in enumerate(RENAMED)}
    np.testing.assert_array_equal(
        all_numbers(open_onnx(renamed(net(), names))), all_numbers(open_onnx(net()))
    )


@pytest.mark.parametrize("kind", ["onnx", "ir"])
def test_outputs_of_a_probe_keep_their_names_where_the_model_has_them(kind):
    probe = open_as(kind, renamed(net(), {"a": "conv1/mean", "b": "conv2/var"})).probe(2)
    outputs = ov.Core().read_model(probe.data, probe.weights or b"").outputs
    names = [min(output.names) for output in outputs]
    assert names == ["conv1/mean", "conv1/var", "conv2/mean", "conv2/var"]
