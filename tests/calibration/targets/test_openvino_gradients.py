"""Derivatives of an OpenVINO IR: those of the same net in ONNX, and a forward pass that answers as OpenVINO does."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

import calibration as c
from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Aim, Gradients
from calibration.targets.open import open_onnx
from calibration.targets.openvino.graph import serialize
from calibration.targets.target import Target
from tests.support.onnx_nets import (
    FLOAT_NETS,
    Floats,
    classifier,
    detector,
    hazy,
    pictures,
    quantized,
    street,
)
from tests.support.openvino_nets import (
    Files,
    by_nncf,
    bytes_camera,
    half_weights,
    ir_of,
    opened,
    run_in_openvino,
)

pytestmark = pytest.mark.integration


def differentiate(target: Target, x: Floats, output: str = "logits") -> Gradients:
    """All taps as squares, and the output's cross-entropy."""
    return target.differentiate([*(Aim(tap.name) for tap in target.taps), Aim(output, "softmax")], x)


def losses_and_slopes(found: Gradients, x: Floats) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """For the same corrections, targets and weights whatever the names are."""
    rng = np.random.default_rng(0)
    channels = [found.run(x)[tap].shape[1] if tap != INPUT_TAP else x.shape[1] for tap in found.taps]
    affines = {
        tap: Affine(rng.uniform(0.8, 1.2, n).astype(np.float32), rng.normal(0, 0.1, n).astype(np.float32))
        for tap, n in zip(found.taps, channels, strict=True)
    }
    shapes = {aim.name: found.run(x)[aim.name].shape for aim in found.aims}
    targets = {name: rng.uniform(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    weights = dict.fromkeys(shapes, np.asarray(0.1, np.float32))
    losses, slopes = found.step(x, affines, targets, weights)
    values = [part for slope in slopes.values() for part in (slope.scale, slope.offset)]
    return np.asarray(list(losses.values())), values


def assert_same_derivatives(ir: Target, onnx: Target, x: Floats, *, within: float) -> None:
    wanted, got = differentiate(onnx, x), differentiate(ir, x)
    assert len(got.aims) == len(ir.taps) + 1
    assert got.problems == ()
    assert list(got.taps) == [INPUT_TAP, *(tap.name for tap in ir.taps)]
    expected, found = losses_and_slopes(wanted, x), losses_and_slopes(got, x)
    np.testing.assert_allclose(found[0], expected[0], rtol=within)
    for one, other in zip(expected[1], found[1], strict=True):
        np.testing.assert_allclose(other, one, atol=within * np.abs(one).max())


@pytest.mark.parametrize("name", FLOAT_NETS)
def test_derivatives_are_those_of_the_onnx_target(name: str) -> None:
    make, data = FLOAT_NETS[name]
    x = data(1 if name == "fixed batch" else 3)
    assert_same_derivatives(opened(ir_of(make())), open_onnx(make()), x, within=1e-3)


@pytest.mark.parametrize("per_channel", [True, False])
def test_derivatives_of_an_int8_ir_are_those_of_the_onnx_file_it_was_made_from(
    per_channel: bool, tmp_path: Path
) -> None:
    model = quantized(classifier(), tmp_path, per_channel=per_channel)
    assert_same_derivatives(opened(ir_of(model)), open_onnx(model), pictures(3), within=1e-3)


def test_derivatives_of_compressed_weights_are_those_of_the_weights_they_stand_for(tmp_path: Path) -> None:
    files = half_weights(classifier(), tmp_path)
    model = ov.Core().read_model(*files)
    whole = ov.Core().read_model(*ir_of(classifier()))
    halves = {
        node.get_friendly_name().removesuffix("_compressed"): np.array(node.data).astype(np.float32)
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "f16"
    }
    for node in whole.get_ordered_ops():
        if node.get_type_name() == "Constant" and node.get_friendly_name() in halves:
            same = ops.constant(halves[node.get_friendly_name()].reshape(np.array(node.data).shape))
            node.output(0).replace(same.output(0))
    one, other = opened(files), opened(serialize(whole))
    found = [losses_and_slopes(differentiate(target, pictures(2)), pictures(2)) for target in (one, other)]
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def without_rounding(files: Files) -> Files:
    """The same IR with so many levels that its quantizers only keep to their ranges; weights have 255 of them."""
    return re.sub(rb'levels="256"', b'levels="16000000"', files[0]), files[1]


def test_what_nncf_made_answers_as_openvino_does_without_its_rounding() -> None:
    files, x = by_nncf(classifier()), 1.5 * pictures(4)  # some of it out of the ranges
    target = opened(files)
    got = differentiate(target, x)
    assert got.problems == ()
    wanted = run_in_openvino(without_rounding(files), x)["logits"]
    np.testing.assert_allclose(got.run(x)["logits"], wanted, atol=1e-3 * np.abs(wanted).max())
    assert all(np.abs(values).max() > 0 for values in losses_and_slopes(got, x)[1])


def test_heads_are_the_layers_behind_which_no_other_is() -> None:
    assert opened(ir_of(detector())).heads == ("node_c2",)
    assert opened(bytes_camera()).heads == ("logits",)


def test_heads_and_outputs_of_a_detector_are_reached() -> None:
    target, x = opened(ir_of(detector())), street(2)
    found = target.differentiate([Aim(target.heads[0]), Aim("found")], x)
    assert len(found.aims) == 2
    np.testing.assert_allclose(found.run(x)["found"], target.runner()(x)["found"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("via_convert", [True, False])
def test_bytes_with_channels_last_are_differentiated_as_floats(via_convert: bool) -> None:
    target = opened(bytes_camera(via_convert=via_convert))
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 16, 16)).astype(np.float32)
    found = differentiate(target, x)
    np.testing.assert_allclose(found.run(x)["logits"], target.runner()(x)["logits"], rtol=1e-4, atol=1e-4)
    assert all(np.abs(values).max() > 0 for values in losses_and_slopes(found, x)[1])


def test_differentiating_leaves_the_model_as_it_is() -> None:
    target, x = opened(ir_of(classifier())), pictures(2)
    files, before = target.inspect()["sha256"], target.runner()(np.repeat(x, 3, axis=0))["logits"]
    differentiate(target, x)
    assert (target.runner()(np.repeat(x, 3, axis=0))["logits"] == before).all()
    assert target.inspect()["sha256"] == files


def test_a_patch_is_distilled_for_an_ir_as_for_the_onnx_file_it_was_made_from(tmp_path: Path) -> None:
    files, model = ir_of(classifier()), classifier()
    path = tmp_path / "net.xml"
    path.write_bytes(files[0])
    path.with_suffix(".bin").write_bytes(files[1])
    healthy, dark, test = pictures(96, seed=1), hazy(pictures(48, seed=3), 0.3, -0.5), pictures(200, seed=5)
    wanted = c.recalibrate(model, c.profile(model, healthy), dark)
    verdict = c.recalibrate(path, c.profile(path, healthy), dark)
    assert verdict.accepted
    assert verdict.candidate == wanted.candidate
    assert verdict.scores["distilled"] == pytest.approx(wanted.scores["distilled"], rel=0.02, nan_ok=True)
    assert verdict.patch is not None
    assert wanted.patch is not None
    for one, other in zip(verdict.patch.taps.values(), wanted.patch.taps.values(), strict=True):
        np.testing.assert_allclose(one.scale, other.scale, atol=1e-3)
        np.testing.assert_allclose(one.offset, other.offset, atol=1e-3)
    patched = opened(files).patched(verdict.patch)
    assert patched.weights is not None
    usual, seen = opened(files).runner(), hazy(test, 0.3, -0.5)
    right = usual(test)["logits"].argmax(1)
    again = opened((patched.data, patched.weights)).runner()(seen)["logits"].argmax(1)
    assert (again == right).mean() > 0.8
    assert (usual(seen)["logits"].argmax(1) == right).mean() < 0.3
