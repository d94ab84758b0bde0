"""A layer over tokens: its moments are those of whole frames, and a correction is one of its last axis."""

from typing import Any

import numpy as np
import pytest
import torch

import calibration
from benchmarks.accuracy.methods import sequential
from calibration.patch import Affine, Patch
from calibration.stats.moments import FrameMoments
from calibration.targets.base import ModelFiles, Normalisation
from calibration.targets.tap_choice import VARYING
from tests.support.every_target import full_patch, reopened
from tests.support.onnx_nets import pictures
from tests.support.openvino_nets import ir_of
from tests.support.token_nets import (
    FORMATS,
    ORDERS,
    Chosen,
    Folded,
    hazy_pictures,
    onnx_of,
    opened,
    taps_by_layer,
    tokens,
    transformer,
)
from tests.support.torch_nets import hooked

pytestmark = pytest.mark.integration

LAYERS = list(ORDERS)


def expected(net: torch.nn.Module, x: np.ndarray) -> dict[str, FrameMoments]:
    """The formula itself, on what torch's layers give."""
    seen = hooked(net, x, LAYERS)
    rows = {layer: ORDERS[layer](y.astype(np.float64), len(x)) for layer, y in seen.items()}
    return {layer: FrameMoments(y.mean(1), y.var(1)) for layer, y in rows.items()}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("frames", [1, 7, 16])  # 16 is as many as there are tokens
def test_moments_are_those_of_the_positions_of_each_frame(name: str, frames: int) -> None:
    net, x = tokens(), pictures(frames, seed=4)
    target = opened(name)
    seen = target.observe(x, frames_of_first=9)
    for layer, tap in taps_by_layer(target).items():
        wanted = expected(net, x)[layer]
        np.testing.assert_allclose(seen.frames[tap].mean, wanted.mean, atol=2e-5)
        np.testing.assert_allclose(seen.frames[tap].var, wanted.var, atol=2e-5)
        np.testing.assert_allclose(seen.moments[tap].var, wanted.pool().var, atol=2e-5)
        assert seen.moments[tap].count == frames


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("prior", [0.0, 0.3])
def test_one_pass_finds_what_layer_by_layer_finds(name: str, prior: float) -> None:
    target = opened(name)
    wanted = Normalisation(target.observe(pictures(12, seed=1)).moments, prior)
    live = hazy_pictures(12, seed=2)
    at_once, in_turn = target.observe(live, wanted).moments, sequential.observe(target, live, wanted)
    for tap in at_once:
        assert at_once[tap].count == 12
        np.testing.assert_allclose(at_once[tap].mean, in_turn[tap].mean, atol=2e-3)
        np.testing.assert_allclose(at_once[tap].var, in_turn[tap].var, rtol=0.02, atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_a_patch_does_what_scaling_the_last_axis_in_torch_does(name: str) -> None:
    net, x = tokens(), pictures(5, seed=6)
    target, rng = opened(name), np.random.default_rng(0)
    affines = {}
    for layer, tap in taps_by_layer(target).items():
        channels = next(one.channels for one in target.taps if one.name == tap)
        scale, offset = rng.uniform(0.5, 2, channels), rng.normal(0, 0.5, channels)
        affines[tap] = Affine(scale.astype(np.float32), offset.astype(np.float32))
        net.get_submodule(layer).register_forward_hook(_scaling(affines[tap], 1 if layer in _CONVS else -1))
    done = target.patched(Patch(affines, target.sha256, "b", "all", 5, 0.0))
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    [found] = reopened(done).runner()(x).values()
    np.testing.assert_allclose(found, wanted, atol=2e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_a_layer_that_a_picture_may_leave_without_rows_is_no_tap(name: str) -> None:
    torch.manual_seed(0)
    model = FORMATS[name](Chosen().eval())
    target = calibration.open_target(model)
    assert len(target.taps) == 2
    assert [layer.reason for layer in target.skipped if "head" not in layer.reason] == [VARYING]
    dark = np.full((4, 3, 16, 16), -1.0, np.float32)
    assert np.isfinite(target.observe(dark).moments[target.taps[1].name].mean).all()


def test_an_ir_of_one_picture_is_measured_where_its_batch_axis_can_be_freed() -> None:
    torch.manual_seed(0)
    net, x = Folded().eval(), pictures(5, seed=2)
    target = calibration.open_target(ModelFiles(*ir_of(onnx_of(net), batch=1)))
    seen = target.observe(x, frames_of_first=3)
    wanted = hooked(net, x, ["rows"])["rows"].reshape(5, -1, 9)
    [_, tap] = target.taps
    np.testing.assert_allclose(seen.frames[tap.name].mean, wanted.mean(1), atol=2e-5)
    np.testing.assert_allclose(seen.frames[tap.name].var, wanted.var(1), atol=2e-5)


_CONVS = ("patches", "windows")


def _scaling(affine: Affine, axis: int) -> Any:
    def corrected(_module: Any, _inputs: Any, y: torch.Tensor) -> torch.Tensor:
        scale, offset = torch.from_numpy(affine.scale), torch.from_numpy(affine.offset)
        return (y.movedim(axis, -1) * scale + offset).movedim(-1, axis)

    return corrected


@pytest.mark.parametrize("name", FORMATS)
def test_the_probe_gives_what_the_baseline_keeps(name: str) -> None:
    x = pictures(3, seed=8)
    target = opened(name)
    frames = target.observe(x, frames_of_first=9).frames
    run = _runner_of(target.probe(5))
    for i in range(len(x)):
        outputs = run(x[i : i + 1])
        for tap in target.taps[:5]:
            for part in ("mean", "var"):
                assert outputs[f"{tap.name}/{part}"].shape[0] == 1  # the daemon's engines want the batch axis
                found = outputs[f"{tap.name}/{part}"].reshape(-1)
                np.testing.assert_allclose(found, getattr(frames[tap.name], part)[i], atol=2e-5)


def _runner_of(files: calibration.ModelFiles) -> Any:
    from edge_runtime.inference.engines.factory import open_engine
    from edge_runtime.inference.engines.threads import ThreadPlan

    kind = "openvino" if files.weights is not None else "torchscript" if files.data[:2] == b"PK" else "onnx"
    return open_engine(files, kind, (3, 16, 16), ThreadPlan(1, 1, "probe")).infer


@pytest.mark.parametrize("name", FORMATS)
def test_a_transformer_is_profiled_and_its_attention_is_no_tap(name: str) -> None:
    model, x = FORMATS[name](transformer()), pictures(24, seed=3)
    baseline = calibration.profile(model, x)
    target = calibration.open_target(model)
    channels = [tap.channels for tap in target.taps]
    assert channels == [16, 48, 16, 32, 16]  # patches, q and k and v, projection, the two of the feed-forward
    assert baseline.moments[target.taps[1].name].count == 24
    assert calibration.measure_drift(model, baseline, x)["input"] < 1e-9
    seen = target.observe(hazy_pictures(24, 5), Normalisation(baseline.moments)).moments
    patch = full_patch(target, seen, baseline.moments)
    for outputs in (reopened(target.patched(patch)).runner()(x), target.runner(patch)(x)):
        assert all(np.isfinite(value).all() for value in outputs.values())
    verdict = calibration.recalibrate(model, baseline, hazy_pictures(24, 5))
    assert verdict.drift
