"""The OpenVINO target against the ONNX target on the same nets: what flows at a tap, and what a patch does to it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import PatchError, TapMismatch
from calibration.patch import Affine, Patch, correction
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Normalisation, Observation
from calibration.targets.open import open_onnx
from calibration.targets.target import Target
from tests.support.onnx_nets import FLOAT_NETS, Net, classifier, hazy, pictures, quantized
from tests.support.openvino_nets import Files, by_nncf, bytes_camera, constants, half_weights, ir_of, opened

pytestmark = pytest.mark.integration


def full_patch(target: Target, seen: Observation, healthy: Observation, prior: float = 0.0) -> Patch:
    taps = {t.name: correction(seen.moments[t.name], healthy.moments[t.name], prior) for t in target.taps}
    return Patch(taps, target.sha256, "baseline", "all", 1, 0.0)


def any_patch(target: Target, seed: int = 0) -> Patch:
    """The same corrections for every target of the same net, by position."""
    rng = np.random.default_rng(seed)
    taps = {
        tap.name: Affine(
            rng.uniform(0.5, 2, tap.channels).astype(np.float32),
            rng.normal(0, 0.3, tap.channels).astype(np.float32),
        )
        for tap in target.taps
    }
    return Patch(taps, target.sha256, "baseline", "all", 1, 0.0)


def reopened(target: Target, patch: Patch) -> Target:
    done = target.patched(patch)
    assert done.weights is not None
    return opened((done.data, done.weights))


def off(seen: Observation, healthy: Observation, tap: str) -> float:
    """Mean distance of the channel means, in units of the tap's healthy spread."""
    wanted = healthy.moments[tap]
    return float(np.abs(seen.moments[tap].mean - wanted.mean).mean() / np.sqrt(wanted.var.mean()))


@pytest.mark.parametrize("name", FLOAT_NETS)
@pytest.mark.parametrize("prior", [None, 0.0, 0.3])
def test_moments_are_those_of_the_onnx_target(name: str, prior: float | None) -> None:
    make, data = FLOAT_NETS[name]
    onnx, ir, x = open_onnx(make()), opened(ir_of(make())), data(13)
    assert [tap.channels for tap in ir.taps] == [tap.channels for tap in onnx.taps]
    assert ir.input_shape == onnx.input_shape
    drifted = x if prior is None else hazy(x)
    modes = [None if prior is None else Normalisation(t.observe(x).moments, prior) for t in (onnx, ir)]
    wanted, got = onnx.observe(drifted, modes[0]), ir.observe(drifted, modes[1], frames_of_first=2)
    assert list(got.frames) == ([] if prior is not None else [INPUT_TAP, ir.taps[0].name])
    for one, other in zip(wanted.moments.values(), got.moments.values(), strict=True):
        std = np.sqrt(one.var.mean())
        np.testing.assert_allclose(other.mean, one.mean, rtol=1e-4, atol=1e-4 * std)
        np.testing.assert_allclose(other.var, one.var, rtol=1e-3, atol=1e-4 * std**2)


@pytest.mark.parametrize("name", FLOAT_NETS)
def test_a_patched_model_answers_like_the_patched_onnx_model(name: str) -> None:
    make, data = FLOAT_NETS[name]
    onnx, ir, x = open_onnx(make()), opened(ir_of(make())), data(5)
    wanted = onnx.runner(any_patch(onnx))(x)["logits"]
    again = reopened(ir, any_patch(ir))
    assert [tap.name for tap in again.taps] == [tap.name for tap in ir.taps]
    for got in (ir.runner(any_patch(ir))(x)["logits"], again.runner()(x)["logits"]):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", FLOAT_NETS)
def test_a_patch_without_drift_gives_the_same_bytes(name: str) -> None:
    make, data = FLOAT_NETS[name]
    files = ir_of(make())
    target = opened(files)
    healthy = target.observe(data(8))
    done = target.patched(full_patch(target, healthy, healthy))
    assert (done.data, done.weights) == files


INT8_NETS: dict[str, Callable[[Path], Files]] = {
    "qdq": lambda folder: ir_of(quantized(classifier(), folder)),
    "qdq, static": lambda folder: ir_of(quantized(classifier(), folder), batch=1),
    "qdq without bias": lambda folder: ir_of(quantized(classifier(bias=False), folder)),
    "qdq per tensor": lambda folder: ir_of(quantized(classifier(), folder, per_channel=False)),
    "nncf": lambda folder: by_nncf(classifier()),
}


@pytest.mark.parametrize("name", INT8_NETS)
def test_an_int8_model_gets_its_moments_back_with_its_weight_bytes_unchanged(
    name: str, tmp_path: Path
) -> None:
    files = INT8_NETS[name](tmp_path)
    target = opened(files)
    assert {tap.kind for tap in target.taps} == {"Convolution int8", "GroupConvolution int8"}
    x = pictures(16)
    drifted = hazy(x, 0.6, 0.2)
    healthy, plain = target.observe(x), target.observe(drifted)
    patch = full_patch(target, target.observe(drifted, Normalisation(healthy.moments)), healthy)
    done = target.patched(patch)
    assert done.weights is not None
    patched = opened((done.data, done.weights)).observe(drifted)
    for tap in target.taps:
        assert off(patched, healthy, tap.name) < 0.1
        assert off(patched, healthy, tap.name) < 0.4 * off(plain, healthy, tap.name)
    before, after = constants(files, "i8"), constants((done.data, done.weights), "i8")
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    assert len(before) >= 3


def test_a_patched_qdq_model_answers_like_the_patched_onnx_model(tmp_path: Path) -> None:
    model = quantized(classifier(), tmp_path)
    onnx, ir, x = open_onnx(model), opened(ir_of(model)), pictures(32)
    wanted = onnx.runner(any_patch(onnx))(x)["logits"]
    got = reopened(ir, any_patch(ir)).runner()(x)["logits"]
    step = np.abs(wanted).max() / 128  # one step of the last activation
    assert np.abs(got - wanted).mean() < step
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.9


def test_nncf_int8_is_recovered_like_the_float_model() -> None:
    """A patch made on the int8 model brings its answers as near to the healthy ones as the float model's do."""
    x = pictures(48)
    drifted = hazy(x, 0.6, 0.2)
    left: dict[str, float] = {}
    for name, files in (("float", ir_of(classifier(), batch=1)), ("nncf", by_nncf(classifier()))):
        target = opened(files)
        healthy = target.observe(x)
        patch = full_patch(target, target.observe(drifted, Normalisation(healthy.moments)), healthy)
        good = target.runner()(x)["logits"]
        before, after = target.runner()(drifted)["logits"], target.runner(patch)(drifted)["logits"]
        left[name] = float(np.abs(after - good).mean() / np.abs(before - good).mean())
    assert left["nncf"] < 0.6
    assert left["nncf"] < left["float"] + 0.1


def test_half_precision_weights_keep_their_bytes(tmp_path: Path) -> None:
    files = half_weights(classifier(), tmp_path)
    target, x = opened(files), pictures(5)
    assert {tap.kind for tap in target.taps} == {"Convolution float16", "GroupConvolution float16"}
    done = target.patched(any_patch(target))
    assert done.weights is not None
    before, after = constants(files, "f16"), constants((done.data, done.weights), "f16")
    assert before
    changed = {key for key in before if key not in after or (before[key] != after[key]).any()}
    assert not {key for key in changed if before[key].ndim > 1}
    whole = open_onnx(classifier())
    np.testing.assert_allclose(
        target.runner(any_patch(target))(x)["logits"],
        whole.runner(any_patch(whole))(x)["logits"],
        atol=0.02 * np.abs(whole.runner()(x)["logits"]).max(),
    )


def test_untouched_channels_keep_every_bit() -> None:
    files = ir_of(classifier())
    target = opened(files)
    tap = target.taps[0]
    scale, offset = np.ones(tap.channels, np.float32), np.zeros(tap.channels, np.float32)
    scale[2], offset[2] = 1.5, 0.3
    patch = Patch({tap.name: Affine(scale, offset)}, target.sha256, "", "x", 1, 0.0)
    done = target.patched(patch)
    assert done.weights is not None
    before, after = (sorted_floats(pair) for pair in (files, (done.data, done.weights)))
    new = [array for array in after if not any(same(array, other) for other in before)]
    old = [array for array in before if not any(same(array, other) for other in after)]
    assert len(old) == len(new) == 2  # the weights and the bias of one layer
    for was in old:
        now = next(array for array in new if array.size == was.size)
        rows = (was.reshape(tap.channels, -1) != now.reshape(tap.channels, -1)).any(1)
        assert list(np.flatnonzero(rows)) == [2]


def sorted_floats(files: Files) -> list[np.ndarray]:
    return list(constants(files, "f32").values())


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def test_a_patch_for_another_model_is_refused() -> None:
    target = opened(ir_of(classifier()))
    identity = Affine(np.ones(3, np.float32), np.zeros(3, np.float32))
    with pytest.raises(PatchError, match="0000"):
        target.patched(Patch({INPUT_TAP: identity}, "0" * 64, "", "x", 1, 0.0))
    with pytest.raises(PatchError, match="ghost"):
        target.runner(Patch({"ghost": identity}, target.sha256, "", "x", 1, 0.0))


def test_another_models_baseline_is_refused() -> None:
    net = Net(1)
    x = net.add("Relu", [net.conv("input", "other", 3, 4)], "r")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [net.conv(x, "c", 4, 5)], "p")], "f")
    net.add("Gemm", [x, net.normal("w", 5, 4)], "logits")
    healthy = opened(ir_of(net.model("logits", out=("N", 4)))).observe(pictures(4))
    with pytest.raises(TapMismatch, match="conv1"):
        opened(ir_of(classifier())).observe(pictures(4), Normalisation(healthy.moments))


def test_both_files_make_the_digest() -> None:
    xml, weights = ir_of(classifier())
    other = opened((xml, weights[:-4] + b"\x00\x00\x80\x3f"))
    assert opened((xml, weights)).sha256 != other.sha256


def test_means_ten_thousand_spreads_off_are_exact() -> None:
    net = Net(9)
    weight = net.normal("w", 4, 3, 1, 1, scale=0.5)
    x = net.add("Conv", ["input", weight, net.weight("b", np.full(4, 1e4, np.float32))], "far")
    x = net.add("Relu", [net.conv(x, "c", 4, 5)], "r")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "gap")], "flat")
    net.add("Gemm", [x, net.normal("fw", 5, 10)], "logits")
    target, onnx, x8 = opened(ir_of(net.model("logits"))), open_onnx(net.model("logits")), pictures(8)
    far = target.taps[0].name
    healthy, wanted = target.observe(x8), onnx.observe(x8).moments["far"]
    np.testing.assert_allclose(healthy.moments[far].var, wanted.var, rtol=0.01)
    np.testing.assert_allclose(healthy.moments[far].mean, wanted.mean, rtol=1e-6)
    seen = target.observe(hazy(x8), Normalisation(healthy.moments)).moments[far]
    np.testing.assert_allclose(seen.var / healthy.moments[far].var, 0.36, rtol=0.02)


@pytest.mark.parametrize("via_convert", [True, False])
def test_a_uint8_channels_last_input_is_served_as_float_channels_first(via_convert: bool) -> None:
    target = opened(bytes_camera(via_convert=via_convert))
    assert target.input_shape == (1, 3, 16, 16)
    assert target.inspect()["input"] == {
        "name": "image", "shape": [1, 3, 16, 16], "layout": "NHWC", "dtype": "uint8",
    }  # fmt: skip
    x = np.round(pictures(8) * 128 + 127)
    affine = Affine(np.asarray([0.5, 1, 0.7], np.float32), np.asarray([20, 0, 3.5], np.float32))
    patch = Patch({INPUT_TAP: affine}, target.sha256, "", "input", 1, 0.0)
    again = reopened(target, patch)
    assert again.input_shape == target.input_shape
    wanted = target.runner()(affine.apply(x))["logits"]
    tolerance = (
        0.02 * np.abs(wanted).max()
    )  # the plain model rounds corrected pictures to uint8, the patched need not
    for got in (target.runner(patch)(x)["logits"], again.runner()(x)["logits"]):
        np.testing.assert_allclose(got, wanted, atol=tolerance)
    healthy = target.observe(x)
    seen = target.observe(affine.apply(x), Normalisation(healthy.moments))
    restored = reopened(target, full_patch(target, seen, healthy)).observe(affine.apply(x))
    for tap in target.taps:
        assert off(restored, healthy, tap.name) < 0.05


def test_correcting_the_input_equals_feeding_corrected_pictures() -> None:
    target, x = opened(by_nncf(classifier())), pictures(5)
    affine = Affine(np.asarray([2, 1, 0.5], np.float32), np.asarray([0.1, 0, -0.2], np.float32))
    patch = Patch({INPUT_TAP: affine}, target.sha256, "", "input", 1, 0.0)
    wanted = target.runner()(affine.apply(x))["logits"]
    np.testing.assert_allclose(target.runner(patch)(x)["logits"], wanted, atol=1e-4)
    healthy = target.observe(x).moments
    through = target.observe(x, Normalisation(healthy, 1.0, affine)).moments
    for name, moments in target.observe(affine.apply(x), Normalisation(healthy, 1.0)).moments.items():
        np.testing.assert_allclose(through[name].mean, moments.mean, atol=1e-3)
