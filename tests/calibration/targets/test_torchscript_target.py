"""The TorchScript target against eager torch: what flows at a tap, and what a patch does to it."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from calibration.errors import DataError, PatchError, TapMismatch
from calibration.patch import Affine, Patch, correction
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Normalisation, Observation
from calibration.targets.open import open_onnx, open_torchscript
from calibration.targets.target import Target
from calibration.targets.torchscript import program
from calibration.targets.torchscript.backend import TorchScriptBackend
from tests.support.onnx_nets import hazy, pictures
from tests.support.torch_nets import (
    Classifier,
    Dimensions,
    Perceptron,
    Statements,
    classifier,
    frozen,
    hooked,
    lived_in,
    quiet,
    scripted,
    traced,
)
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

Save = Callable[[nn.Module], bytes]

FORMS: dict[str, Save] = {
    "scripted": scripted,
    "traced": traced,
    "frozen": frozen,
    "frozen with live BatchNorm": lambda net: frozen(net, folded=False),
}
TAPS = ["bn1", "bn2", "plain"]


def patch_of(target: Target, taps: dict[str, Affine]) -> Patch:
    return Patch(taps, target.sha256, "baseline", "all", 1, 0.0)


def full_patch(target: Target, seen: Observation, healthy: Observation) -> Patch:
    found = {t.name: correction(seen.moments[t.name], healthy.moments[t.name]) for t in target.taps}
    return patch_of(target, found)


@pytest.mark.parametrize("form", FORMS)
def test_moments_are_those_of_the_eager_layers(form: str) -> None:
    net, x = classifier(), pictures(13)
    target = open_torchscript(FORMS[form](net))
    seen = target.observe(x, frames_of_first=2)
    assert next(iter(seen.moments)) == INPUT_TAP
    assert len(seen.frames) == 2
    for tap, y in zip(target.taps, hooked(net, x, TAPS).values(), strict=True):
        wide = np.moveaxis(y.astype(np.float64), 1, 0).reshape(tap.channels, -1)
        np.testing.assert_allclose(seen.moments[tap.name].mean, wide.mean(1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(seen.moments[tap.name].var, wide.var(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_in_place_leads_on(form: str) -> None:
    target = open_torchscript(FORMS[form](Statements().eval()))
    assert [tap.channels for tap in target.taps] == [6, 6, 3, 4, 4]
    assert len(target.skipped) == len(target.heads) == 1


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], np.ndarray]]] = {
    "conv": (classifier, pictures),
    "no bias": (lambda: classifier(bias=False), pictures),
    "no weight in the BatchNorm": (lambda: classifier(affine=False), pictures),
    "1d": (lambda: lived_in(Dimensions(1)), lambda n: pictures(n, channels=2, size=8)[:, :, 0]),
    "2d": (lambda: lived_in(Dimensions(2)), lambda n: pictures(n, channels=2, size=8)),
    "statements": (lambda: Statements().eval(), pictures),
    "3d": (
        lambda: lived_in(Dimensions(3)),
        lambda n: np.random.default_rng(0).normal(0, 1, (n, 2, 8, 8, 8)).astype(np.float32),
    ),
    "linear": (
        lambda: lived_in(Perceptron()),
        lambda n: np.random.default_rng(0).normal(0, 1, (n, 6)).astype(np.float32),
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETS)
def test_one_pass_makes_a_patch_that_restores_every_tap(name: str, form: str) -> None:
    """The order matters: each tap must be measured behind corrected ones, or the deep ones stay off."""
    make, data = NETS[name]
    torch.manual_seed(1)
    net, x = make(), data(8)
    save = FORMS[form]
    model = traced(net, x[:2].shape) if form == "traced" else save(net)
    target, drifted = open_torchscript(model), hazy(x)
    healthy = target.observe(x)
    seen = target.observe(drifted, Normalisation(healthy.moments))
    again = open_torchscript(target.patched(full_patch(target, seen, healthy)).data)
    patched = again.observe(drifted)
    assert [t.name for t in again.taps] == [t.name for t in target.taps]
    assert len(target.taps) >= 3
    for tap in target.taps:
        wanted, got = healthy.moments[tap.name], patched.moments[tap.name]
        unclipped = np.abs(got.var / wanted.var - 1) < 1  # channels at the limit of the scale stay off
        assert unclipped.mean() > 0.7
        std = np.sqrt(wanted.var.mean())
        np.testing.assert_allclose(got.mean, wanted.mean, atol=0.02 * std)
        np.testing.assert_allclose(got.var[unclipped], wanted.var[unclipped], rtol=0.05, atol=1e-3 * std**2)


def reestimated(net: Classifier, x: np.ndarray) -> nn.Module:
    """Eager BatchNorm re-estimation, layer by layer with one batch: train mode, momentum 1 (population variance)."""
    copied = copy.deepcopy(net).eval()
    for norm in (copied.bn1, copied.bn2):
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        copied(torch.from_numpy(x))
    count = len(x) * (x.shape[2] // 2) ** 2
    for norm in (copied.bn1, copied.bn2):
        norm.running_var *= (count - 1) / count
    return copied.eval()


@pytest.mark.parametrize("form", FORMS)
def test_a_patch_equals_eager_re_estimation(form: str) -> None:
    """Re-estimation gives every BatchNorm mean beta and spread gamma: with those as baseline both are the same."""
    net, drifted = classifier(), hazy(pictures(8))
    healthy = reestimated(net, pictures(8))
    target = open_torchscript(FORMS[form](healthy))
    baseline = target.observe(pictures(8))
    seen = target.observe(drifted, Normalisation(baseline.moments), first_taps=2)
    taps = {t.name: correction(seen.moments[t.name], baseline.moments[t.name], 0.0) for t in target.taps[:2]}
    got = target.runner(patch_of(target, taps))(drifted)["output"]
    with torch.no_grad():
        wanted = reestimated(healthy, drifted)(torch.from_numpy(drifted)).numpy()
    np.testing.assert_allclose(got, wanted, atol=5e-3 * np.abs(wanted).max())


def test_all_forms_and_the_onnx_export_agree(tmp_path: Path) -> None:
    net, x = classifier(), pictures(11)
    drifted = hazy(x)
    with quiet():
        torch.onnx.export(
            net, (torch.randn(2, 3, 16, 16),), tmp_path / "m.onnx", dynamo=False, input_names=["x"],
            dynamic_axes={"x": {0: "N"}},
        )  # fmt: skip
    targets = [open_torchscript(save(net)) for save in FORMS.values()]
    onnx = open_onnx((tmp_path / "m.onnx").read_bytes())
    healthy = onnx.observe(x)
    seen = onnx.observe(drifted, Normalisation(healthy.moments, prior=0.3))
    patch = full_patch(onnx, seen, healthy)  # type: ignore[arg-type]
    wanted = next(iter(onnx.runner(patch)(drifted).values()))
    for target in targets:
        baseline = target.observe(x)
        observed = target.observe(drifted, Normalisation(baseline.moments, prior=0.3))
        for one, other in zip(observed.moments.values(), seen.moments.values(), strict=True):
            np.testing.assert_allclose(one.mean, other.mean, atol=1e-4)
            np.testing.assert_allclose(one.var, other.var, rtol=1e-3, atol=1e-5)
        got = target.runner(full_patch(target, observed, baseline))(drifted)["output"]
        np.testing.assert_allclose(got, wanted, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize("form", FORMS)
def test_a_patch_without_drift_gives_the_same_bytes(form: str) -> None:
    model = FORMS[form](classifier())
    target = open_torchscript(model)
    healthy = target.observe(pictures(8))
    assert target.patched(full_patch(target, healthy, healthy)).data == model


def parameters(data: bytes) -> dict[str, torch.Tensor]:
    module = program.load("m", data)
    return dict(module.named_parameters()) | dict(module.named_buffers())


@pytest.mark.parametrize("form", ["scripted", "traced"])
def test_behind_a_batch_norm_convolutions_keep_their_bytes_and_others_their_untouched_channels(
    form: str,
) -> None:
    data = FORMS[form](classifier())
    target = open_torchscript(data)
    one = {
        t.name: Affine(np.ones(t.channels, np.float32), np.zeros(t.channels, np.float32)) for t in target.taps
    }
    for affine in one.values():
        affine.scale[2], affine.offset[2] = 1.5, 0.3
    before, after = parameters(data), parameters(target.patched(patch_of(target, one)).data)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias", "plain.weight", "plain.bias"}
    for name in changed:
        rows = (before[name] != after[name]).reshape(len(before[name]), -1).any(1)
        assert set(rows.nonzero().flatten().tolist()) <= {2}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["conv", "no bias", "no weight in the BatchNorm", "linear"])
def test_a_patch_on_trial_answers_bit_for_bit_like_the_saved_file(name: str, form: str) -> None:
    make, data = NETS[name]
    torch.manual_seed(1)
    net, x = make(), data(8)
    target = open_torchscript(traced(net, x[:2].shape) if form == "traced" else FORMS[form](net))
    taps = {
        t.name: Affine(np.full(t.channels, 1.2, np.float32), np.full(t.channels, 0.1, np.float32))
        for t in target.taps
    }
    taps[INPUT_TAP] = Affine(np.full(x.shape[1], 0.9, np.float32), np.full(x.shape[1], 0.05, np.float32))
    patch = patch_of(target, taps)
    before = target.runner()(x)["output"]
    on_trial = target.runner(patch)(x)["output"]
    saved = open_torchscript(target.patched(patch).data).runner()(x)["output"]
    np.testing.assert_array_equal(on_trial, saved)
    assert not np.array_equal(on_trial, before)
    np.testing.assert_array_equal(target.runner()(x)["output"], before)


@pytest.mark.parametrize("form", FORMS)
def test_correcting_the_input_equals_feeding_corrected_pictures(form: str) -> None:
    target, x = open_torchscript(FORMS[form](classifier())), pictures(5)
    affine = Affine(np.asarray([2, 1, 0.5], np.float32), np.asarray([0.1, 0, -0.2], np.float32))
    got = target.runner(patch_of(target, {INPUT_TAP: affine}))(x)["output"]
    np.testing.assert_allclose(got, target.runner()(affine.apply(x))["output"], atol=1e-5)
    seen = target.observe(x, Normalisation(target.observe(x).moments, 0.0, affine)).moments
    direct = target.observe(affine.apply(x)).moments
    for tap in (INPUT_TAP, target.taps[0].name):
        np.testing.assert_allclose(seen[tap].mean, direct[tap].mean, atol=1e-5)
        np.testing.assert_allclose(seen[tap].var, direct[tap].var, rtol=1e-4)


def test_plain_moments_do_not_depend_on_the_batch_cut_or_order(monkeypatch: pytest.MonkeyPatch) -> None:
    target, x = open_torchscript(scripted(classifier())), pictures(11)
    whole = target.observe(x).moments
    turned = target.observe(x[::-1].copy()).moments
    monkeypatch.setattr(TorchScriptBackend, "batch_bytes", 1)
    single = target.observe(x).moments
    for tap in whole:
        for other in (turned, single):
            np.testing.assert_allclose(other[tap].mean, whole[tap].mean, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(other[tap].var, whole[tap].var, rtol=1e-4)


def test_taps_far_from_zero_are_measured_and_restored() -> None:
    """Mean/std of 10,000 at a tap: only centred data survives float32."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.LazyLinear(10)).eval()
    x = pictures(8)
    net(torch.from_numpy(x))
    net[0].bias.data.fill_(1e4)
    target = open_torchscript(scripted(net))
    healthy = target.observe(x).moments
    weight = net[0].weight.detach().numpy().reshape(4, 3).astype(np.float64)
    exact = np.einsum("oc,nchw->onhw", weight, x.astype(np.float64)).reshape(4, -1)
    np.testing.assert_allclose(healthy["0"].var, exact.var(1), rtol=0.01)
    seen = target.observe(hazy(x), Normalisation(healthy)).moments["0"]
    np.testing.assert_allclose(seen.var / healthy["0"].var, 0.36, rtol=0.02)


def test_the_probe_is_a_small_torchscript_file_with_the_moments_of_single_frames() -> None:
    import io

    target, x = open_torchscript(scripted(classifier())), pictures(6)
    frames = target.observe(x, frames_of_first=3).frames
    with quiet():
        probe = torch.jit.load(io.BytesIO(target.probe(2).data))
    with torch.no_grad():
        answer = probe(torch.from_numpy(x))
    assert set(answer) == {"bn1/mean", "bn1/var", "bn2/mean", "bn2/var"}
    assert "aten::linear" not in {node.kind() for node in probe.inlined_graph.nodes()}
    for tap in ("bn1", "bn2"):
        np.testing.assert_allclose(answer[f"{tap}/mean"].numpy(), frames[tap].mean, rtol=1e-5)
        np.testing.assert_allclose(answer[f"{tap}/var"].numpy(), frames[tap].var, rtol=1e-5)


def test_a_patched_file_runs_in_a_process_without_this_library(tmp_path: Path) -> None:
    target, x = open_torchscript(scripted(classifier(bias=False))), pictures(4)
    healthy = target.observe(x)
    seen = target.observe(hazy(x), Normalisation(healthy.moments))
    affine = Affine(np.full(3, 1.1, np.float32), np.full(3, 0.1, np.float32))
    patch = full_patch(target, seen, healthy)
    patch = patch_of(target, {INPUT_TAP: affine, **patch.taps})
    (tmp_path / "m.pt").write_bytes(target.patched(patch).data)
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy, torch, warnings; warnings.simplefilter('ignore'); m = torch.jit.load('m.pt');"
        "x = torch.from_numpy(numpy.load('x.npy')); numpy.save('y.npy', m(x).detach().numpy());"
        "assert 'calibration' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, check=True, timeout=WAIT_S)
    # the runner folds BatchNorms: another rounding
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"), target.runner(patch)(x)["output"], rtol=1e-5, atol=1e-4
    )


def test_a_patch_for_another_model_is_refused() -> None:
    target = open_torchscript(scripted(classifier()))
    identity = Affine(np.ones(3, np.float32), np.zeros(3, np.float32))
    with pytest.raises(PatchError, match="0000"):
        target.patched(Patch({INPUT_TAP: identity}, "0" * 64, "", "x", 1, 0.0))
    with pytest.raises(PatchError, match="ghost"):
        target.patched(patch_of(target, {"ghost": identity}))


def test_another_models_baseline_is_refused() -> None:
    healthy = open_torchscript(scripted(lived_in(Dimensions(2)))).observe(pictures(4, channels=2))
    with pytest.raises(TapMismatch, match="bn1"):
        open_torchscript(scripted(classifier())).observe(pictures(4), Normalisation(healthy.moments))


@pytest.mark.parametrize(
    "x", [pictures(2)[:, :2], pictures(2).astype(np.float64), pictures(2)[:0], pictures(2)[0]]
)
def test_pictures_of_another_shape_are_refused_with_the_expected_one(x: np.ndarray) -> None:
    with pytest.raises(DataError, match="float32"):
        open_torchscript(scripted(classifier())).observe(x)
