"""Weights as other tools write them, built node by node; and what cannot be recalibrated, by name."""

from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from calibration.errors import DataError, ModelError
from calibration.patch import Affine, Patch
from calibration.targets.base import Normalisation
from calibration.targets.open import open_openvino
from calibration.targets.openvino.graph import serialize
from tests.support.onnx_nets import classifier, hazy, pictures
from tests.support.openvino_nets import Files, biased, closed, constants, conv, ir_of, opened

pytestmark = pytest.mark.integration

RNG = np.random.default_rng(5)
INT8 = RNG.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8)
BIAS = RNG.normal(0, 0.3, 6)


def floats(values: Any) -> Any:
    return ops.constant(np.asarray(values, np.float32))


def per_tensor() -> Any:
    return ops.multiply(ops.convert(ops.constant(INT8), "f32"), floats(0.01))


def with_zero_points() -> Any:
    shifted = ops.subtract(ops.convert(ops.constant(INT8), "f32"), floats(np.full((6, 1, 1, 1), 3)))
    return ops.multiply(shifted, floats(RNG.uniform(0.005, 0.02, (6, 1, 1, 1))))


def fake_quantized() -> Any:
    top = np.abs(INT8).max(axis=(1, 2, 3), keepdims=True) * 0.01
    ends = [floats(-top), floats(top), floats(-top), floats(top)]
    return ops.fake_quantize(floats(INT8 * 0.01), *ends, 255)


def fake_quantized_per_tensor() -> Any:
    ends = [floats(-1.3), floats(1.3), floats(-1.3), floats(1.3)]
    return ops.fake_quantize(floats(INT8 * 0.01), *ends, 255)


def transposed_outside() -> Any:
    kept = floats(np.transpose(INT8 * 0.01, (2, 3, 1, 0)))
    return ops.transpose(kept, ops.constant([3, 2, 0, 1]))


KERNELS = {
    function.__name__: function
    for function in (
        per_tensor,
        with_zero_points,
        fake_quantized,
        fake_quantized_per_tensor,
        transposed_outside,
    )
}


def net_with(kernel: Any) -> Files:
    rng = np.random.default_rng(1)
    picture = ops.parameter([-1, 3, 16, 16], np.float32, name="input")
    x = ops.relu(biased(picture, kernel, BIAS, "first"))
    x = ops.relu(conv(x, rng.normal(0, 0.3, (5, 6, 3, 3)), None, "second"))
    return closed(x, picture, rng, 5)


def at_first_tap(files: Files, x: np.ndarray) -> np.ndarray:
    model = ov.Core().read_model(*files)
    node = next(n for n in model.get_ordered_ops() if n.get_friendly_name() == "first")
    alone = ov.Model([node.output(0)], model.get_parameters(), "alone")
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    return np.array(ov.Core().compile_model(alone, "CPU", hint)(x)[0], np.float32)


@pytest.mark.parametrize("name", KERNELS)
def test_weights_of_any_make_take_a_correction_per_channel(name: str) -> None:
    files, x = net_with(KERNELS[name]()), pictures(4)
    target = opened(files)
    assert [tap.name for tap in target.taps] == ["first", "second"]
    affine = Affine(np.linspace(0.5, 2, 6).astype(np.float32), np.linspace(-1, 1, 6).astype(np.float32))
    done = target.patched(Patch({"first": affine}, target.sha256, "", "x", 1, 0.0))
    assert done.weights is not None
    wanted = affine.apply(at_first_tap(files, x))
    got = at_first_tap((done.data, done.weights), x)
    np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
    before, after = constants(files, "i8"), constants((done.data, done.weights), "i8")
    assert all((before[key] == after[key]).all() for key in before)


def test_a_layer_without_bias_gets_one_and_keeps_its_name() -> None:
    target = opened(net_with(per_tensor()))
    affine = Affine(np.ones(5, np.float32), np.linspace(0.1, 1, 5).astype(np.float32))
    done = target.patched(Patch({"second": affine}, target.sha256, "", "x", 1, 0.0))
    assert done.weights is not None
    again, x = opened((done.data, done.weights)), pictures(6)
    assert [tap.name for tap in again.taps] == ["first", "second"]
    before, after = target.observe(x).moments["second"], again.observe(x).moments["second"]
    np.testing.assert_allclose(after.mean - before.mean, affine.offset, atol=1e-5)


def test_weights_of_two_layers_are_corrected_for_one_of_them() -> None:
    rng, kernel = np.random.default_rng(2), floats(np.random.default_rng(3).normal(0, 0.4, (3, 3, 3, 3)))
    picture = ops.parameter([-1, 3, 16, 16], np.float32, name="input")
    x = ops.relu(biased(picture, kernel, np.zeros(3), "first"))
    x = ops.relu(biased(x, kernel, np.zeros(3), "second"))
    target, x8 = opened(closed(x, picture, rng, 3)), pictures(8)
    affine = Affine(np.full(3, 2, np.float32), np.zeros(3, np.float32))
    done = target.patched(Patch({"second": affine}, target.sha256, "", "x", 1, 0.0))
    assert done.weights is not None
    before, after = target.observe(x8).moments, opened((done.data, done.weights)).observe(x8).moments
    np.testing.assert_allclose(after["first"].mean, before["first"].mean, rtol=1e-6)
    np.testing.assert_allclose(after["second"].mean, 2 * before["second"].mean, rtol=1e-4)


def test_batch_norm_taken_apart_is_one_tap_with_its_convolution() -> None:
    rng = np.random.default_rng(4)
    picture = ops.parameter([-1, 3, 16, 16], np.float32, name="input")
    y = conv(picture, rng.normal(0, 0.4, (6, 3, 3, 3)), None, "raw")
    for op in (ops.subtract, ops.divide, ops.multiply):
        y = op(y, floats(rng.uniform(0.5, 2, (1, 6, 1, 1))))
    y = ops.add(y, floats(rng.normal(0, 1, (1, 6, 1, 1))), name="first")
    x = ops.relu(conv(ops.relu(y), rng.normal(0, 0.3, (5, 6, 3, 3)), None, "second"))
    files = closed(x, picture, rng, 5)
    target, x8 = opened(files), pictures(8)
    assert [tap.name for tap in target.taps] == ["first", "second"]
    affine = Affine(np.linspace(0.5, 2, 6).astype(np.float32), np.linspace(-1, 1, 6).astype(np.float32))
    done = target.patched(Patch({"first": affine}, target.sha256, "", "x", 1, 0.0))
    assert done.weights is not None
    got, wanted = at_first_tap((done.data, done.weights), x8), affine.apply(at_first_tap(files, x8))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_a_live_batch_norm_is_a_tap() -> None:
    rng = np.random.default_rng(6)
    picture = ops.parameter([-1, 3, 16, 16], np.float32, name="input")
    y = conv(picture, rng.normal(0, 0.4, (6, 3, 3, 3)), None, "raw")
    stats = [floats(rng.uniform(0.5, 2, 6)) for _ in range(4)]
    y = ops.batch_norm_inference(y, *stats, 1e-5, name="first")
    x = ops.relu(conv(ops.relu(y), rng.normal(0, 0.3, (5, 6, 3, 3)), None, "second"))
    target, x8 = opened(closed(x, picture, rng, 5)), pictures(8)
    assert [tap.kind.split()[0] for tap in target.taps] == ["BatchNormInference", "Convolution"]
    affine = Affine(np.linspace(0.5, 2, 6).astype(np.float32), np.linspace(-1, 1, 6).astype(np.float32))
    done = target.patched(Patch({"first": affine}, target.sha256, "", "x", 1, 0.0))
    assert done.weights is not None
    before = target.observe(x8).moments["first"]
    after = opened((done.data, done.weights)).observe(x8).moments["first"]
    np.testing.assert_allclose(after.mean, before.mean * affine.scale + affine.offset, atol=1e-4)
    np.testing.assert_allclose(after.var, before.var * affine.scale.astype(np.float64) ** 2, rtol=1e-3)


def test_dead_channels_are_left_alone_and_counted() -> None:
    step = np.full((6, 1, 1, 1), 0.01)
    step[1] = 1e-9
    target = opened(net_with(ops.multiply(ops.convert(ops.constant(INT8), "f32"), floats(step))))
    affine = Affine(np.full(6, 1.2, np.float32), np.full(6, 0.1, np.float32))
    done = target.patched(Patch({"first": affine}, target.sha256, "", "x", 1, 0.0))
    assert dict(done.left_alone) == {"first": 1}
    assert done.weights is not None
    x = pictures(4)
    before = target.observe(x).moments["first"].mean
    after = opened((done.data, done.weights)).observe(x).moments["first"].mean
    assert after[1] == before[1]
    assert (after[[0, 2, 3, 4, 5]] != before[[0, 2, 3, 4, 5]]).all()


def test_a_tap_that_never_varies_does_no_harm() -> None:
    target, x = opened(net_with(floats(np.zeros((6, 3, 3, 3))))), pictures(8)
    healthy = target.observe(x)
    seen = target.observe(hazy(x), Normalisation(healthy.moments))
    np.testing.assert_allclose(seen.moments["second"].mean, healthy.moments["second"].mean, atol=1e-5)


@pytest.mark.parametrize(
    ("xml", "weights"), [(b"", b""), (b"hello", b""), (ir_of(classifier())[0], b"\x00" * 100)]
)
def test_what_is_no_model_is_refused(xml: bytes, weights: bytes) -> None:
    with pytest.raises(ModelError, match=r"m\.xml"):
        open_openvino(xml, weights, name="m.xml")


def test_several_inputs_are_refused_by_name() -> None:
    one, two = (ops.parameter([1, 3, 8, 8], np.float32, name=name) for name in ("image", "mask"))
    with pytest.raises(ModelError, match="image, mask"):
        opened(serialize(ov.Model([ops.add(one, two)], [one, two], "m")))


def test_a_model_without_layers_is_refused() -> None:
    picture = ops.parameter([1, 3, 8, 8], np.float32, name="image")
    with pytest.raises(ModelError) as caught:
        opened(serialize(ov.Model([ops.relu(picture)], [picture], "m")))
    assert caught.value.expected == "correctable layers"


def test_an_unknown_number_of_channels_is_refused_with_the_fix() -> None:
    picture = ops.parameter([-1, -1, -1, -1], np.float32, name="image")
    with pytest.raises(ModelError, match=r"Model\.reshape"):
        opened(serialize(ov.Model([ops.relu(picture)], [picture], "m")))


def test_layers_that_cannot_be_corrected_are_named() -> None:
    picture = ops.parameter([1, 3, 16, 16], np.float32, name="image")
    rng = np.random.default_rng(7)
    x = conv(picture, rng.normal(0, 0.4, (3, 3, 3, 3)), rng.normal(0, 1, 3), "given away")
    kernel = ops.reshape(ops.reduce_mean(x, ops.constant([0, 2, 3]), True), ops.constant([3, 1, 1, 1]), False)
    moving = ops.group_convolution(
        ops.relu(x), ops.unsqueeze(kernel, ops.constant([4])), [1, 1], [0, 0], [0, 0], [1, 1], name="moving"
    )
    y = ops.relu(conv(ops.relu(moving), rng.normal(0, 0.4, (4, 3, 3, 3)), rng.normal(0, 1, 4), "kept"))
    y = conv(y, rng.normal(0, 0.4, (2, 4, 3, 3)), rng.normal(0, 1, 2), "answer")
    target = opened(serialize(ov.Model([y, x], [picture], "m")))
    assert [tap.name for tap in target.taps] == ["kept"]
    assert (
        next(layer.reason for layer in target.skipped if layer.name == "moving")
        == "its weights are not constants"
    )
    reasons = sorted(layer.reason for layer in target.skipped)
    assert reasons == [
        "head of the model: its statistics are the answer",
        "its output is an output of the model",
        "its weights are not constants",
    ]


def test_a_batch_size_built_into_the_layers_is_refused_with_the_fix() -> None:
    rng = np.random.default_rng(8)
    picture = ops.parameter([1, 3, 16, 16], np.float32, name="image")
    x = ops.relu(conv(picture, rng.normal(0, 0.4, (3, 3, 3, 3)), None, "first"))
    x = ops.reshape(x, ops.constant([1, 3, 16, 16]), False)
    x = ops.relu(conv(x, rng.normal(0, 0.4, (4, 3, 3, 3)), None, "second"))
    with pytest.raises(ModelError) as caught:
        opened(closed(x, picture, rng, 4)).observe(pictures(4))
    assert caught.value.expected == "a batch axis that can be freed"


@pytest.mark.parametrize(
    "x", [pictures(2)[:, :2], pictures(2).astype(np.float64), pictures(2)[:0], pictures(2)[0]]
)
def test_pictures_of_another_shape_are_refused_with_the_expected_one(x: np.ndarray) -> None:
    with pytest.raises(DataError, match="float32"):
        opened(ir_of(classifier())).observe(x)
