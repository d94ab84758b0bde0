"""A picture of bytes that goes straight into a DequantizeLinear: corrected bytes stay within 0 and 255."""

import numpy as np
import pytest
from onnx import TensorProto

from calibration.patch import Affine, Patch
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Aim, Gradients
from calibration.targets.open import open_onnx
from calibration.targets.target import Target
from tests.support.gradients import file_of
from tests.support.onnx_nets import Floats, Net

pytestmark = pytest.mark.integration

SHAPE = (2, 3, 8, 8)


def target_of(*, moves: bool) -> Target:
    net = Net(5)
    x = net.add("Flatten", ["input"], "flat") if moves else "input"
    step, zero = net.weight("step", np.float32(0.02)), net.weight("zero", np.uint8(100))
    x = net.add("DequantizeLinear", [x, step, zero], "real")
    if moves:
        x = net.add("Reshape", [x, net.weight("shape", np.asarray([-1, 3, 8, 8]))], "picture")
    x = net.add("Relu", [net.conv(x, "conv1", 3, 4)], "relu")
    net.conv(x, "conv2", 4, 5)
    net.add("Identity", ["conv2"], "answer")
    return open_onnx(file_of(net, ["answer"], ("N", 3, 8, 8), TensorProto.UINT8))


def brightened(target: Target, scale: float, offset: float) -> dict[str, Affine]:
    channels = {INPUT_TAP: 3} | {tap.name: tap.channels for tap in target.taps}
    same = {tap: Affine(np.ones(n, np.float32), np.zeros(n, np.float32)) for tap, n in channels.items()}
    return same | {INPUT_TAP: Affine(np.full(3, scale, np.float32), np.full(3, offset, np.float32))}


def step(gradients: Gradients, x: Floats, affines: dict[str, Affine]) -> tuple[float, Floats]:
    """Half the sum of squares of the answer, and its slope by the offsets of the input."""
    target = np.zeros_like(gradients.run(x)["answer"])
    weights = {"answer": np.ones((), np.float32)}
    given = {tap: affines[tap] for tap in gradients.taps}
    losses, slopes = gradients.step(x, given, {"answer": target}, weights)
    return losses["answer"], slopes[INPUT_TAP].offset


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 40.0), (2.0, 0.0), (1.0, -60.0)])
def test_the_loss_is_that_of_the_patched_model(moves, scale, offset):
    target = target_of(moves=moves)
    x = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.float32)
    affines = brightened(target, scale, offset)
    patch = Patch(affines, target.sha256, "b" * 16, "c", frames=8, created_wall_s=0.0)
    answer = target.runner(patch)(x)["answer"].astype(np.float64)
    loss, _ = step(target.differentiate([Aim("answer")], x), x, affines)
    np.testing.assert_allclose(loss, (answer**2).sum() / 2, rtol=1e-4)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("value", [0.0, 255.0])
def test_black_and_white_have_a_slope(moves, value):
    target, x = target_of(moves=moves), np.full(SHAPE, value, np.float32)
    gradients = target.differentiate([Aim("answer")], x)
    _, slope = step(gradients, x, brightened(target, 1.0, 0.0))
    inwards = 0.05 if value == 0 else -0.05
    losses = [step(gradients, x, brightened(target, 1.0, k * inwards))[0] for k in (1, 2)]
    assert np.all(slope != 0)
    np.testing.assert_allclose(slope.sum(), (losses[1] - losses[0]) / inwards, rtol=0.05)
