"""The derivatives of TorchScript files against eager torch in float64, and what they do for a patch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import calibration as c
from calibration.errors import ModelError
from calibration.patch import Patch
from calibration.targets.base import Aim, LossKind, ModelFiles
from calibration.targets.open import open_torchscript
from calibration.targets.torchscript.backend import TorchScriptBackend
from tests.support.onnx_nets import hazy, pictures
from tests.support.torch_gradients import (
    FORMS,
    TORCH_NETS,
    Eager,
    assert_like_eager,
    draw_affines,
    traced_like,
)
from tests.support.torch_nets import classifier, hooked, lived_in, scripted

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TORCH_NETS)
def test_slopes_are_those_of_eager_autograd(name: str, form: str) -> None:
    make, x, layers = TORCH_NETS[name]
    net = make()
    target = open_torchscript(FORMS[form](x)(net))
    affines = draw_affines(target, x)
    taps = list(affines)
    aims = [Aim(taps[-1]), Aim(taps[2]), *(Aim(output) for output in target.runner()(x))]
    assert_like_eager(target, Eager(net, layers, affines), x, aims, affines)


class Sure(nn.Module):
    """Gives the logits of a net, and their softmax."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.net(x) / 20
        return {"logits": logits, "sure": torch.softmax(logits, 1)}


@pytest.mark.parametrize(
    ("output", "kind"),
    [("logits", "softmax"), ("logits", "sigmoid"), ("logits", "squares"), ("sure", "likelihood")],
)
def test_every_loss_is_the_one_that_is_defined(output: str, kind: LossKind) -> None:
    net, x = Sure(classifier()).eval(), pictures(4)
    target = open_torchscript(scripted(net))
    affines = draw_affines(target, x)
    eager = Eager(net, ["net.bn1", "net.bn2", "net.plain"], affines)
    assert_like_eager(target, eager, x, [Aim(output, kind)], affines)


class Windows(nn.Module):
    """Its second layer sees four windows of every frame, one behind the other on the first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 6, 3), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x))
        x = x.reshape(x.size(0), 4, 2, 8, 2, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, 4, 8, 8)
        x = torch.tanh(self.second(x)).mean((2, 3))
        return self.head(x.reshape(-1, 4, 6).mean(1))


class Mixing(nn.Module):
    """What it answers to a frame depends on the others of the batch; ``fixed`` takes two frames only."""

    def __init__(self, fixed: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3), nn.Linear(6, 3)
        self.fixed = fixed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x))
        x = x.reshape([2, 4, 14, 14]) if self.fixed else x - x.mean(0, keepdim=True)
        return self.head(torch.tanh(self.second(x)).mean((2, 3)))


@pytest.mark.parametrize(
    "make", [Windows, Mixing, lambda: Mixing(fixed=True)], ids=["windows", "mixing", "two frames"]
)
def test_frames_take_it_one_by_one_only_where_that_is_the_same(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net, x = make().eval(), pictures(2)
    target = open_torchscript(traced_like(x)(net))
    target._backend.batch_bytes = 1
    affines = draw_affines(target, x)
    eager = Eager(net, ["first", "second"], affines)
    assert_like_eager(target, eager, x, [Aim("second"), Aim("output", "softmax")], affines)


def test_a_batch_in_parts_gives_the_slopes_of_the_whole() -> None:
    net, x = classifier(), pictures(6)
    target = open_torchscript(scripted(net))
    target._backend.batch_bytes = 2 * x[0].nbytes
    affines = draw_affines(target, x)
    eager = Eager(net, ["bn1", "bn2", "plain"], affines)
    assert_like_eager(target, eager, x, [Aim("plain"), Aim("output", "softmax")], affines)


def test_the_uncorrected_model_is_what_it_was() -> None:
    """Taps as the layers give them, outputs as the runner does; an in-place ReLU behind a tap changes neither."""
    net, x = classifier(), pictures(4)
    target = open_torchscript(scripted(net))
    before = target.runner()(x)["output"]
    gradients = target.differentiate([Aim(tap.name) for tap in target.taps] + [Aim("output", "softmax")], x)
    found = gradients.run(x)
    for tap, y in hooked(net, x, ["bn1", "bn2", "plain"]).items():
        np.testing.assert_allclose(found[tap], y, atol=1e-5)
    np.testing.assert_allclose(found["output"], before, atol=1e-3)
    weight = dict.fromkeys(found, np.ones((), np.float32))
    gradients.step(x, draw_affines(target, x), found, weight)
    np.testing.assert_array_equal(gradients.run(x)["output"], found["output"])
    np.testing.assert_array_equal(target.runner()(x)["output"], before)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TORCH_NETS)
def test_a_patch_makes_the_model_that_was_differentiated(name: str, form: str) -> None:
    make, x, _ = TORCH_NETS[name]
    target = open_torchscript(FORMS[form](x)(make()))
    affines = draw_affines(target, x)
    patched = target.runner(Patch(affines, target.sha256, "baseline", "distilled", 1, 0.0))(x)
    gradients = target.differentiate([Aim(output) for output in patched], x)
    losses, _ = gradients.step(x, affines, patched, dict.fromkeys(patched, np.ones((), np.float32)))
    for output, loss in losses.items():
        assert np.sqrt(2 * loss / patched[output].size) <= 1e-4 * max(1, np.abs(patched[output]).max())


def test_gradients_stay_off_outside_and_no_parameter_asks_for_one() -> None:
    backend, x = TorchScriptBackend(ModelFiles(scripted(classifier())), threads=2), pictures(2)
    threads = torch.get_num_threads()
    with torch.no_grad():
        gradients = backend.differentiate([Aim("output", "softmax")], x)
        gradients.run(x)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert torch.get_num_threads() == threads
    assert all(p.grad is None for p in backend._module.parameters())


def test_pictures_of_a_wrong_size_are_an_error_of_the_model() -> None:
    torch.manual_seed(0)
    target = open_torchscript(scripted(lived_in(TORCH_NETS["attention"][0]())))
    with pytest.raises(ModelError):
        target.differentiate([Aim("wide")], pictures(2, size=20))


def test_heads_are_what_the_answers_are_computed_from() -> None:
    heads = {}
    for name in ("plain", "residual", "attention"):
        make, x, _ = TORCH_NETS[name]
        target = open_torchscript(scripted(make()))
        gradients = target.differentiate([Aim(head) for head in target.heads], x)
        assert [aim.name for aim in gradients.aims] == list(target.heads)
        heads[name] = [value.shape for value in gradients.run(x).values()]
        assert not set(target.heads) & {"output", "logits", "map", *(tap.name for tap in target.taps)}
    assert heads == {"plain": [(4, 10)], "residual": [(4, 5)], "attention": [(4, 5)]}


class Shared(nn.Module):
    """One head for two maps of different size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, 2), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.relu(self.stem(x))
        return self.head(x), self.head(torch.relu(self.down(x)))


def test_a_head_that_is_called_twice_is_two() -> None:
    x = pictures(2)
    target = open_torchscript(scripted(Shared().eval()))
    assert len(set(target.heads)) == 2
    found = target.differentiate([Aim(head) for head in target.heads], x).run(x)
    assert [value.shape for value in found.values()] == [(2, 2, 14, 14), (2, 2, 6, 6)]


def test_the_only_layer_of_a_net_is_tap_and_head_under_one_name() -> None:
    target = open_torchscript(scripted(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()))
    assert target.heads == tuple(tap.name for tap in target.taps)


def test_a_distilled_patch_is_accepted_and_helps_and_comes_again_with_the_seed() -> None:
    model = scripted(classifier(seed=2))
    baseline = c.profile(model, pictures(96, seed=1), created_wall_s=0.0)
    one, other = (c.recalibrate(model, baseline, hazy(pictures(48, seed=2))) for _ in "ab")
    assert one.accepted, one.reasons
    assert one.scores["distilled"] == other.scores["distilled"]
    assert one.patch is not None
    assert other.patch is not None
    assert list(one.patch.taps) == list(other.patch.taps)
    for tap, affine in one.patch.taps.items():
        np.testing.assert_array_equal(affine.scale, other.patch.taps[tap].scale)
        np.testing.assert_array_equal(affine.offset, other.patch.taps[tap].offset)
    test = pictures(300, seed=3)
    usual, live, patched = (
        np.asarray(open_torchscript(data).runner()(x)["output"]).argmax(1)
        for data, x in ((model, test), (model, hazy(test)), (c.apply(model, one.patch), hazy(test)))
    )
    assert (patched == usual).mean() > (live == usual).mean() + 0.4
