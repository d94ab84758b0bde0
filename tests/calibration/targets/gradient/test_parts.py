"""A batch that is too large for the memory is differentiated part by part, also where the file fixes its size."""

import numpy as np
import pytest

from calibration.targets.base import Aim
from calibration.targets.gradient import parts
from calibration.targets.gradient.parts import PartedGradients, find_part
from calibration.targets.open import open_onnx, open_openvino
from tests.support.gradients import affines_for, file_of
from tests.support.onnx_nets import Net, classifier, pictures
from tests.support.openvino_nets import ir_of

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("frames", "side", "expected"), [(8, 224, 2), (8, 640, 1), (8, 16, 8), (6, 160, 3), (7, 224, 1)]
)
def test_a_part_divides_the_batch(frames, side, expected):
    assert find_part(np.zeros((frames, 3, side, side), np.float32)) == expected


@pytest.mark.parametrize("aim", [Aim("logits", "softmax"), Aim("c2")])
@pytest.mark.parametrize("batch", [8, "N"])
def test_parts_give_the_slopes_of_the_whole(monkeypatch, batch, aim):
    model, x = classifier(batch=batch), pictures(8)
    aim = aim if aim.kind == "softmax" else Aim(open_onnx(model).taps[-1].name)
    whole = open_onnx(model).differentiate([aim], x)
    monkeypatch.setattr(parts, "PART_VALUES", 2 * x[0].size)
    cut = open_onnx(model).differentiate([aim], x)
    assert isinstance(cut, PartedGradients)
    assert (cut.batch, cut.aims, cut.taps) == (8, whole.aims, whole.taps)
    seen, channels = whole.run(x)[aim.name], {tap.name: tap.channels for tap in open_onnx(model).taps}
    np.testing.assert_allclose(cut.run(x)[aim.name], seen, rtol=1e-4, atol=1e-5)
    affines = affines_for(whole, channels | {"input": 3})
    rng = np.random.default_rng(3)
    target = rng.uniform(0, 1, seen.shape).astype(np.float32)
    for weight in (np.float32(0.125), rng.uniform(0.5, 1.5, seen.shape).astype(np.float32)):
        given = {aim.name: target}, {aim.name: np.asarray(weight)}
        (loss, slopes), (losses, others) = whole.step(x, affines, *given), cut.step(x, affines, *given)
        assert losses[aim.name] == pytest.approx(loss[aim.name], rel=1e-4)
        for tap, slope in slopes.items():
            scale = np.abs(slope.scale).max() + 1e-6
            np.testing.assert_allclose(others[tap].scale, slope.scale, atol=1e-4 * scale)
            np.testing.assert_allclose(
                others[tap].offset, slope.offset, atol=1e-3 * np.abs(slope.offset).max()
            )


def test_a_batch_that_is_built_into_the_layers_is_taken_whole(monkeypatch):
    """One of them adds something else to every frame of a batch."""
    net = Net(2)
    x = net.add("Relu", [net.conv("input", "conv1", 3, 4)], "relu1")
    x = net.add("Relu", [net.conv(x, "conv2", 4, 4)], "relu2")
    x = net.add("Add", [x, net.normal("places", 4, 4, 16, 16)], "own")
    flat = net.add("Flatten", [net.add("GlobalAveragePool", [x], "pooled")], "flat")
    logits = net.add("Gemm", [flat, net.normal("w", 4, 3), net.normal("b", 3)], "logits")
    model, x = file_of(net, [logits], (4, 3, 16, 16)), pictures(4)
    monkeypatch.setattr(parts, "PART_VALUES", x[0].size)
    found = open_onnx(model).differentiate([Aim("logits", "softmax")], x)
    assert not isinstance(found, PartedGradients)
    assert found.batch == 4


def test_an_ir_of_a_fixed_batch_is_taken_in_parts(monkeypatch):
    x = pictures(8)
    monkeypatch.setattr(parts, "PART_VALUES", 2 * x[0].size)
    target = open_openvino(*ir_of(classifier(), batch=8))
    found = target.differentiate([Aim("logits", "softmax")], x)
    assert isinstance(found, PartedGradients)
    np.testing.assert_allclose(found.run(x)["logits"], target.runner()(x)["logits"], rtol=1e-4, atol=1e-4)
