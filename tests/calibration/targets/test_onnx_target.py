"""The ONNX target against direct computation: what flows at a tap, and what a patch does to it."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from calibration.errors import DataError, PatchError, TapMismatch
from calibration.patch import Affine, Patch, correction
from calibration.stats.moments import INPUT_TAP
from calibration.targets import passes
from calibration.targets.base import Normalisation, Observation
from calibration.targets.onnx.graph import parse
from calibration.targets.onnx.taps import find_taps
from calibration.targets.open import open_onnx
from calibration.targets.target import Target
from tests.support.onnx_nets import FLOAT_NETS, Net, classifier, hazy, pictures, quantized, with_batch_norm


def at_tap(model: bytes, tap: str, x: np.ndarray) -> np.ndarray:
    """The tensor itself, by making it an output of the plain model."""
    proto = onnx.load_model_from_string(model)
    proto.graph.output.append(helper.make_tensor_value_info(tap, TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return np.asarray(ort.InferenceSession(proto.SerializeToString(), options).run([tap], {"input": x})[0])


def full_patch(target: Target, seen: Observation, healthy: Observation, prior: float = 0.0) -> Patch:
    taps = {t.name: correction(seen.moments[t.name], healthy.moments[t.name], prior) for t in target.taps}
    return Patch(taps, target.sha256, "baseline", "all", 1, 0.0)


@pytest.mark.parametrize("name", [n for n in FLOAT_NETS if n != "fixed batch"])
def test_moments_are_those_of_the_tensor_at_every_tap(name: str) -> None:
    make, data = FLOAT_NETS[name]
    model, x = make(), data(13)
    target = open_onnx(model)
    seen = target.observe(x, frames_of_first=2)
    assert next(iter(seen.moments)) == INPUT_TAP
    assert len(seen.frames) == 2
    for tap in target.taps:
        y = at_tap(model, tap.name, x).astype(np.float64)
        y = np.moveaxis(y, 1, 0).reshape(tap.channels, -1)
        np.testing.assert_allclose(seen.moments[tap.name].mean, y.mean(1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(seen.moments[tap.name].var, y.var(1), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", FLOAT_NETS)
def test_one_pass_makes_a_patch_that_restores_every_tap(name: str) -> None:
    """The order matters: each tap must be measured behind corrected ones, or the deep ones stay off."""
    make, data = FLOAT_NETS[name]
    target = open_onnx(make())
    x = data(8)
    drifted = hazy(x)
    healthy = target.observe(x)
    seen = target.observe(drifted, Normalisation(healthy.moments))
    patched = open_onnx(target.patched(full_patch(target, seen, healthy)).data).observe(drifted)
    for before, after in zip(
        target.taps, open_onnx(target.patched(full_patch(target, seen, healthy)).data).taps, strict=True
    ):
        wanted, got = healthy.moments[before.name], patched.moments[after.name]
        unclipped = np.abs(got.var / wanted.var - 1) < 1  # channels at the limit of the scale stay off
        assert unclipped.mean() > 0.8
        std = np.sqrt(wanted.var.mean())
        np.testing.assert_allclose(got.mean, wanted.mean, atol=0.02 * std)
        np.testing.assert_allclose(got.var[unclipped], wanted.var[unclipped], rtol=0.05, atol=1e-3 * std**2)


def test_an_int8_model_gets_its_moments_back(tmp_path: Path) -> None:
    target = open_onnx(quantized(classifier(), tmp_path))
    assert [tap.kind for tap in target.taps] == ["Conv int8"] * 3
    x = pictures(16)
    drifted = hazy(x, 0.6, 0.2)
    healthy = target.observe(x)
    seen = target.observe(drifted, Normalisation(healthy.moments))
    patched = open_onnx(target.patched(full_patch(target, seen, healthy)).data).observe(drifted)
    plain = target.observe(drifted)
    for tap in target.taps:
        wanted = healthy.moments[tap.name]
        std = np.sqrt(wanted.var)
        off_before = np.abs(plain.moments[tap.name].mean - wanted.mean) / std
        off_after = np.abs(patched.moments[tap.name].mean - wanted.mean) / std
        assert off_after.mean() < 0.1
        assert off_after.mean() < 0.4 * off_before.mean()


def test_int8_weight_bytes_and_activation_scales_stay(tmp_path: Path) -> None:
    target = open_onnx(quantized(classifier(), tmp_path))
    healthy = target.observe(pictures(8))
    seen = target.observe(hazy(pictures(8)), Normalisation(healthy.moments))
    before = parse("m", (tmp_path / "int8.onnx").read_bytes())
    after = parse("m", target.patched(full_patch(target, seen, healthy)).data)
    changed = [n for n in before.constants if (before.array(n) != after.array(n)).any()]
    assert {before.array(n).dtype for n in changed} == {np.dtype("float32"), np.dtype("int32")}
    assert len(changed) == 9  # weight scale, bias scale and bias of three convolutions
    assert len(after.constants) == len(before.constants)


def test_a_patch_without_drift_gives_the_same_bytes(tmp_path: Path) -> None:
    model = quantized(classifier(), tmp_path)
    target = open_onnx(model)
    healthy = target.observe(pictures(8))
    assert target.patched(full_patch(target, healthy, healthy)).data == model


def test_untouched_channels_keep_every_bit(tmp_path: Path) -> None:
    for model in (quantized(classifier(), tmp_path), classifier()):
        target = open_onnx(model)
        tap = target.taps[0]
        scale, offset = np.ones(tap.channels, np.float32), np.zeros(tap.channels, np.float32)
        scale[2], offset[2] = 1.5, 0.3
        patch = Patch({tap.name: Affine(scale, offset)}, target.sha256, "", "x", 1, 0.0)
        before, after = parse("m", model), parse("m", target.patched(patch).data)
        for name in before.constants:
            old, new = before.array(name), after.array(name)
            rows = np.flatnonzero((old != new).reshape(len(old), -1).any(1)) if old.ndim else np.empty(0)
            assert set(rows) <= {2}


def test_correcting_the_input_equals_feeding_corrected_pictures(tmp_path: Path) -> None:
    target = open_onnx(quantized(classifier(), tmp_path))
    x, affine = (
        pictures(5),
        Affine(np.asarray([2, 1, 0.5], np.float32), np.asarray([0.1, 0, -0.2], np.float32)),
    )
    patch = Patch({INPUT_TAP: affine}, target.sha256, "", "input", 1, 0.0)
    np.testing.assert_allclose(
        target.runner(patch)(x)["logits"], target.runner()(affine.apply(x))["logits"], atol=1e-6
    )
    through_observer = target.observe(x, Normalisation(target.observe(x).moments, 1.0, affine)).moments
    for name, moments in target.observe(
        affine.apply(x), Normalisation(target.observe(x).moments, 1.0)
    ).moments.items():
        np.testing.assert_allclose(through_observer[name].mean, moments.mean, atol=1e-4)


def test_plain_moments_do_not_depend_on_the_batch_cut_or_order(monkeypatch: pytest.MonkeyPatch) -> None:
    target, x = open_onnx(classifier()), pictures(11)
    whole = target.observe(x).moments
    turned = target.observe(x[::-1].copy()).moments
    monkeypatch.setattr(passes, "PLAIN_BATCH", 1)
    single = target.observe(x).moments
    for tap in whole:
        for other in (turned, single):
            np.testing.assert_allclose(other[tap].mean, whole[tap].mean, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(other[tap].var, whole[tap].var, rtol=1e-5)


def test_taps_far_from_zero_are_measured_and_restored() -> None:
    """Mean/std of 10,000 at a tap: only shifted data survives float32."""
    net = Net(0)
    inputs = ["input", net.normal("w", 4, 3, 1, 1), net.weight("b", np.full(4, 1e4, np.float32))]
    x = net.add("Relu", [net.conv(net.add("Conv", inputs, "far"), "near", 4, 5)], "r")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "gap")], "flat")
    net.add("Gemm", [x, net.normal("fw", 5, 10)], "logits")
    target, x8 = open_onnx(net.model("logits")), pictures(8)
    healthy = target.observe(x8).moments["far"]
    w = parse("m", net.model("logits")).array("w").reshape(4, 3).astype(np.float64)
    exact = np.einsum("oc,nchw->onhw", w, x8.astype(np.float64)).reshape(4, -1)
    np.testing.assert_allclose(healthy.var, exact.var(1), rtol=0.01)
    np.testing.assert_allclose(healthy.mean, exact.mean(1) + 1e4, rtol=1e-6)
    seen = target.observe(hazy(x8), Normalisation(target.observe(x8).moments)).moments["far"]
    np.testing.assert_allclose(seen.var / healthy.var, 0.36, rtol=0.02)


def test_dead_and_overflowing_channels_are_left_alone_and_counted(tmp_path: Path) -> None:
    model = quantized(classifier(), tmp_path)
    graph = parse("m", model)
    tap = find_taps(graph)[0][0]
    assert tap.weight.scale
    scales = graph.array(tap.weight.scale).copy()
    scales[1] = 1e-9
    graph.set_array(tap.weight.scale, scales)
    target = open_onnx(graph.model.SerializeToString())
    affine = Affine(np.full(8, 1.2, np.float32), np.full(8, 0.1, np.float32))
    affine.offset[3] = 1e30
    done = target.patched(Patch({tap.name: affine}, target.sha256, "", "x", 1, 0.0))
    assert dict(done.left_alone) == {tap.name: 2}
    after = parse("m", done.data).array(tap.weight.scale)
    assert (after[[1, 3]] == scales[[1, 3]]).all()
    assert (after[[0, 2, 4]] != scales[[0, 2, 4]]).all()


def test_int8_convolutions_without_bias_get_one(tmp_path: Path) -> None:
    target = open_onnx(quantized(classifier(bias=False), tmp_path))
    x = pictures(8)
    healthy = target.observe(x)
    seen = target.observe(hazy(x), Normalisation(healthy.moments))
    patch = full_patch(target, seen, healthy)
    data = target.patched(patch).data
    y, again = target.runner(patch)(x)["logits"], open_onnx(data).runner()(x)["logits"]
    assert (y == again).all()
    after = open_onnx(data).observe(hazy(x)).moments
    for tap in target.taps:
        off = np.abs(after[tap.name].mean - healthy.moments[tap.name].mean)
        assert (off / np.sqrt(healthy.moments[tap.name].var)).mean() < 0.15


def test_a_patch_for_another_model_is_refused() -> None:
    target = open_onnx(classifier(0))
    identity = Affine(np.ones(3, np.float32), np.zeros(3, np.float32))
    with pytest.raises(PatchError, match="0000"):
        target.patched(Patch({INPUT_TAP: identity}, "0" * 64, "", "x", 1, 0.0))
    with pytest.raises(PatchError, match="ghost"):
        target.patched(Patch({"ghost": identity}, target.sha256, "", "x", 1, 0.0))


def test_another_models_baseline_is_refused() -> None:
    healthy = open_onnx(with_batch_norm()).observe(pictures(4))
    with pytest.raises(TapMismatch, match="conv1"):
        open_onnx(classifier()).observe(pictures(4), Normalisation(healthy.moments))


@pytest.mark.parametrize(
    "x", [pictures(2)[:, :2], pictures(2).astype(np.float64), pictures(2)[:0], pictures(2)[0]]
)
def test_pictures_of_another_shape_are_refused_with_the_expected_one(x: np.ndarray) -> None:
    with pytest.raises(DataError, match="float32"):
        open_onnx(classifier()).observe(x)


def test_a_fixed_batch_is_run_full_whatever_the_number_of_frames() -> None:
    x = pictures(5)
    fixed = open_onnx(classifier(batch=2)).runner()(x)["logits"]
    np.testing.assert_allclose(fixed, open_onnx(classifier()).runner()(x)["logits"], rtol=1e-5)
    assert fixed.shape == (5, 10)
