"""Nets on signals, (N, C, T), (N, T, C) and (N, F), in every format: taps, moments, patches and derivatives."""

import functools
from typing import cast, get_args

import numpy as np
import pytest
import torch
from torch import nn

from calibration.errors import ModelError
from calibration.patch import Patch
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Aim, InputLayout, LossKind, ModelFiles, Normalisation
from calibration.targets.open import Model, open_target
from calibration.targets.target import Target
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.system.model_formats import ModelFormat
from tests.support.every_target import full_patch, reopened
from tests.support.signal_nets import (
    CHANNELS,
    FORMS,
    INT8_FORMS,
    LENGTH,
    SIGNAL_NETS,
    AsKeras,
    ChannelsLast,
    Flattened,
    OnlyRecurrent,
    OverChannels,
    exported,
    gained,
    time_first,
    windows,
)
from tests.support.torch_gradients import Eager, assert_like_eager, draw_affines
from tests.support.torch_nets import frozen, hooked, lived_in, scripted, traced

pytestmark = pytest.mark.integration

CASES = [
    (name, layout, form)
    for name, net in SIGNAL_NETS.items()
    for layout in (("nct", "ntc") if net.is_window else ("nf",))
    for form in FORMS
]
every_case = pytest.mark.parametrize(("name", "layout", "form"), CASES)
each_once = pytest.mark.parametrize(
    ("name", "layout", "form"), [case for case in CASES if case[1] != "nct"]
)  # the channels last are the harder half


@functools.cache
def target_of(name: str, layout: str, form: str) -> Target:
    net, x = SIGNAL_NETS[name].made(), SIGNAL_NETS[name].samples(8)
    if layout == "ntc":
        net, x = ChannelsLast(net).eval(), time_first(x)
    return open_target(FORMS[form](net, x))


@every_case
def test_every_layer_is_a_tap_that_sees_what_it_gives(name: str, layout: str, form: str) -> None:
    net, target = SIGNAL_NETS[name], target_of(name, layout, form)
    x, layers = net.samples(7, seed=3), net.taps_in(form)
    assert len(target.taps) == len(layers)
    assert target.input_shape[1] in (
        (None, CHANNELS) if form == "TorchScript" and layout == "nf" else (CHANNELS,)
    )
    found, wanted = target.observe(x).moments, hooked(net.made(), x, list(layers))
    for tap, layer in zip(target.taps, layers, strict=True):
        y = wanted[layer]
        axes = (0, *range(2, y.ndim))
        np.testing.assert_allclose(found[tap.name].mean, y.mean(axes), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found[tap.name].var, y.var(axes), rtol=1e-3, atol=1e-4)


@each_once
def test_a_patch_of_the_input_and_every_layer_does_what_it_does_to_the_layers(
    name: str, layout: str, form: str
) -> None:
    net, target = SIGNAL_NETS[name], target_of(name, layout, form)
    x = net.samples(5, seed=4)
    affines = draw_affines(target, x)
    eager = Eager(net.made(), net.taps_in(form), affines)
    wanted = eager(x)["output"].detach().numpy()
    patch = Patch(affines, target.sha256, "b", "all", 1, 0.0)
    again = reopened(target.patched(patch))
    assert again.input_shape == target.input_shape
    for runner in (target.runner(patch), again.runner()):
        found = runner(x)["output"]
        assert np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max()


@each_once
def test_derivatives_are_those_of_torch(name: str, layout: str, form: str) -> None:
    net, target = SIGNAL_NETS[name], target_of(name, layout, form)
    x = net.samples(6, seed=5)
    affines = draw_affines(target, x)
    kind: LossKind = "squares" if name in ("flat", "autoencoder") else "softmax"
    aims, is_cut = [Aim(tap.name) for tap in target.taps], name in ("lstm", "gru") and form != "TorchScript"
    if not is_cut:
        aims.append(Aim("output", kind))
    eager = Eager(net.made(), net.taps_in(form), affines)
    assert_like_eager(target, eager, x, aims, affines, has_problems=is_cut)


@pytest.mark.parametrize("form", ["ONNX", "OpenVINO"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_what_lies_behind_a_recurrent_layer_is_no_aim_where_it_has_no_derivative(
    name: str, form: str
) -> None:
    target = target_of(name, "nct", form)
    aims = [Aim(target.taps[-1].name), Aim("output", "softmax")]
    gradients = target.differentiate(aims, windows(4))
    assert gradients.aims == tuple(aims[:1])
    assert gradients.problems


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_recurrent_layer_stays_and_is_named(name: str, form: str) -> None:
    skipped = target_of(name, "ntc", form).skipped
    assert len(skipped) == 2  # and the head
    assert all(layer.reason for layer in skipped)


@pytest.mark.parametrize("form", FORMS)
def test_a_net_without_a_layer_to_correct_is_refused(form: str) -> None:
    net = OnlyRecurrent().eval()
    with pytest.raises(ModelError) as caught:
        open_target(FORMS[form](net, time_first(windows(2))))
    assert caught.value.fix


@pytest.mark.parametrize("form", INT8_FORMS)
@pytest.mark.parametrize("name", ["separable", "flat", "autoencoder", "features"])
def test_int8_layers_are_set_back_to_their_healthy_moments(name: str, form: str) -> None:
    net = SIGNAL_NETS[name]
    x = net.samples(64, seed=6)
    target = open_target(INT8_FORMS[form](net.made(), x))
    healthy = target.observe(x).moments
    patch = full_patch(target, target.observe(gained(x), Normalisation(healthy)).moments, healthy)
    again, off = reopened(target.patched(patch)), []
    for one in (target, again):
        seen = one.observe(gained(x)).moments
        off.append(
            np.concatenate(
                [
                    np.abs(seen[t.name].mean - healthy[t.name].mean) / np.sqrt(healthy[t.name].var)
                    for t in again.taps
                ]
            ).mean()
        )
    assert any("int8" in tap.kind for tap in target.taps)
    assert off[1] < 0.25 * off[0]
    assert off[1] < 0.1


@pytest.mark.parametrize("free", [(), (0,), (0, 1)], ids=["all fixed", "any batch", "any batch and length"])
@pytest.mark.parametrize("form", ["ONNX", "OpenVINO"])
def test_fixed_and_open_sizes_see_the_same(form: str, free: tuple[int, ...]) -> None:
    net, x = SIGNAL_NETS["separable"], windows(5, seed=7)
    model: Model = exported(ChannelsLast(net.made()).eval(), time_first(x), free=free)
    if form == "OpenVINO":
        from tests.support.openvino_nets import ir_of

        model = ModelFiles(*ir_of(model))
    target, usual = open_target(model), target_of("separable", "nct", form)
    assert target.input_shape == (None if 0 in free else 1, CHANNELS, None if 1 in free else LENGTH)
    assert target.inspect()["input"]["layout"] == "NTC"
    healthy = [one.observe(x).moments for one in (target, usual)]
    seen = [
        one.observe(gained(x), Normalisation(known)).moments
        for one, known in zip((target, usual), healthy, strict=True)
    ]
    for found, wanted in zip(seen[0].values(), seen[1].values(), strict=True):
        np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.var, wanted.var, rtol=1e-3, atol=1e-4)
    if 1 in free:
        longer = windows(3, length=2 * LENGTH)
        assert target.runner()(longer)["output"].shape == (3, 4)


@pytest.mark.parametrize("save", ["ONNX", "OpenVINO", "TorchScript", "traced", "frozen"])
@pytest.mark.parametrize("make", [AsKeras, OverChannels])
def test_the_first_layer_says_where_the_channels_are(make: type[nn.Module], save: str) -> None:
    torch.manual_seed(0)
    net, x = lived_in(make()), windows(4)
    forms = FORMS | {"traced": lambda n, x: traced(n, (2, *x.shape[1:])), "frozen": lambda n, _: frozen(n)}
    model = forms[save](net, time_first(x))
    is_told = make is OverChannels and save not in (
        "ONNX",
        "OpenVINO",
    )  # a linear layer takes any number of axes
    target = open_target(model, layout="ntc" if is_told else None)
    assert target.input_shape[1] == CHANNELS
    with torch.no_grad():
        wanted = net(torch.from_numpy(time_first(x))).numpy()
    np.testing.assert_allclose(target.runner()(x)["output"], wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_told_of_the_layout_stays_with_the_patched_model(form: str) -> None:
    net = lived_in(Flattened())
    x = np.ascontiguousarray(windows(4)[:, :, :CHANNELS])  # as long as there are channels: sizes say nothing
    net.wide = nn.Linear(CHANNELS * CHANNELS, 8)
    target = open_target(FORMS[form](net, time_first(x)), layout="ntc")
    affines = draw_affines(target, x)
    done = target.patched(Patch({INPUT_TAP: affines[INPUT_TAP]}, target.sha256, "b", "input", 1, 0.0))
    assert done.files.layout == "ntc"
    with torch.no_grad():
        wanted = net(torch.from_numpy(time_first(affines[INPUT_TAP].apply(x)))).numpy()
    np.testing.assert_allclose(reopened(done).runner()(x)["output"], wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", [name for name in get_args(InputLayout) if len(name) != 3])
@pytest.mark.parametrize("form", FORMS)
def test_a_layout_that_is_no_windows_is_refused(form: str, layout: InputLayout) -> None:
    net, x = SIGNAL_NETS["separable"].made(), windows(2)
    with pytest.raises(ModelError):
        open_target(FORMS[form](net, x), layout=layout)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["separable", "features"])
def test_the_probe_takes_what_the_model_takes(name: str, form: str) -> None:
    net, layout = SIGNAL_NETS[name], "nf" if name == "features" else "ntc"
    target, x = target_of(name, layout, form), net.samples(3, seed=8)
    frames = target.observe(x, frames_of_first=3).frames
    own = x if layout == "nf" else time_first(x)
    engine = open_engine(
        target.probe(2), cast("ModelFormat", form.lower()), own.shape[1:], ThreadPlan(1, 1, "probe")
    )
    outputs = engine.infer(own[:1])
    for tap in target.taps[:2]:
        np.testing.assert_allclose(
            outputs[f"{tap.name}/mean"][0], frames[tap.name].mean[0], rtol=1e-3, atol=1e-5
        )
        np.testing.assert_allclose(
            outputs[f"{tap.name}/var"][0], frames[tap.name].var[0], rtol=1e-3, atol=1e-5
        )


def test_a_linear_layer_over_time_says_nothing_of_the_channels() -> None:
    torch.manual_seed(0)
    net = lived_in(nn.Sequential(nn.Linear(LENGTH, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * CHANNELS, 3)))
    target, x = open_target(scripted(net), layout="nct"), windows(3)
    assert target.input_shape == (None, None, None)
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(target.runner()(x)["output"], wanted, rtol=1e-3, atol=1e-5)
