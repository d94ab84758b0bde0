"""One net, one answer: its derivatives are the same whatever format it is deployed in."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Aim, LossKind
from calibration.targets.open import open_onnx, open_torchscript
from calibration.targets.target import Target
from tests.support.openvino_nets import ir_of
from tests.support.openvino_nets import opened as open_ir
from tests.support.torch_gradients import TORCH_NETS, as_probabilities, traced_like
from tests.support.torch_nets import frozen, quiet, scripted

pytestmark = pytest.mark.integration


def exported(net: nn.Module, x: np.ndarray) -> bytes:
    """Its ONNX file, for any number of frames."""
    buffer = io.BytesIO()
    with quiet(), torch.no_grad():
        answer = net(torch.from_numpy(x[:2]))
        names = list(answer) if isinstance(answer, dict) else ["output"]
        torch.onnx.export(
            net, (torch.from_numpy(x[:2]),), buffer, dynamo=False, opset_version=17, input_names=["x"],
            output_names=names, dynamic_axes={"x": {0: "N"}},
        )  # fmt: skip
    return buffer.getvalue()


def differentiate(target: Target, x: np.ndarray, output: str, kind: LossKind) -> tuple[Any, list[np.ndarray]]:
    """The losses of all taps and one output, and the slopes, in graph order."""
    aims = [*(Aim(tap.name) for tap in target.taps), Aim(output, kind)]
    gradients = target.differentiate(aims, x)
    assert gradients.aims == tuple(aims), gradients.problems
    assert list(gradients.taps) == [INPUT_TAP, *(tap.name for tap in target.taps)]
    rng, healthy = np.random.default_rng(0), gradients.run(x)
    channels = [x.shape[1], *(tap.channels for tap in target.taps)]
    affines = {
        tap: Affine(rng.uniform(0.8, 1.2, n).astype(np.float32), rng.normal(0, 0.1, n).astype(np.float32))
        for tap, n in zip(gradients.taps, channels, strict=True)
    }
    targets, weights = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for aim in aims:
        y = healthy[aim.name]
        drift = rng.normal(0, 1, y.shape).astype(np.float32)
        targets[aim.name] = y + drift if aim.kind == "squares" else as_probabilities(drift)
        weights[aim.name] = np.asarray(rng.uniform(0.5, 1.5) / y[0].size, np.float32)
    losses, slopes = gradients.step(x, affines, targets, weights)
    return list(losses.values()), [part for slope in slopes.values() for part in (slope.scale, slope.offset)]


OPENERS: dict[str, Callable[[nn.Module, np.ndarray], Target]] = {
    "scripted": lambda net, _: open_torchscript(scripted(net)),
    "traced": lambda net, x: open_torchscript(traced_like(x)(net)),
    "frozen": lambda net, _: open_torchscript(frozen(net)),
    "OpenVINO": lambda net, x: open_ir(ir_of(exported(net, x))),
}
"""Each is compared with ONNX."""


@pytest.mark.parametrize("form", OPENERS)
@pytest.mark.parametrize(
    ("name", "output", "kind"),
    [("plain", "output", "softmax"), ("residual", "logits", "softmax"), ("attention", "output", "squares")],
)
def test_every_format_gives_the_derivatives_of_onnx(
    name: str, output: str, kind: LossKind, form: str
) -> None:
    make, x, _ = TORCH_NETS[name]
    net = make()
    losses, slopes = differentiate(open_onnx(exported(net, x)), x, output, kind)
    target = OPENERS[form](net, x)
    got_losses, got_slopes = differentiate(target, x, output, kind)
    np.testing.assert_allclose(got_losses, losses, rtol=1e-3)
    for got, wanted in zip(got_slopes, slopes, strict=True):
        assert np.linalg.norm(got - wanted) <= 1e-3 * np.linalg.norm(wanted)
