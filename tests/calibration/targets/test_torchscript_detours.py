"""What may lie between a tap and an aim of a TorchScript file, and what is named instead of being differentiated."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from calibration.targets.base import Aim, ModelFiles, NoDerivative
from calibration.targets.open import open_torchscript
from calibration.targets.torchscript.backend import TorchScriptBackend
from tests.support.onnx_nets import pictures
from tests.support.torch_gradients import Eager, assert_like_eager, draw_affines, traced_like
from tests.support.torch_nets import scripted

pytestmark = pytest.mark.integration

X = pictures(2)


class Way(nn.Module):
    """Two layers and a head; ``between`` turns the two maps (N, 4, 12, 12) and (N, 4, 14, 14) into what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return deep

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        early = torch.tanh(self.first(x))
        deep = self.between(torch.tanh(self.second(early)), early)
        return {"logits": self.head(deep.mean((2, 3))), "early": early * 1.0}


class Detached(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return deep + early.detach().mean()


class WithoutGradients(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            mean = early.mean()
        return deep * mean


class Branch(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        if early.size(2) > 13 and deep.size(2) < 13:
            return torch.sigmoid(deep * 2.0)
        return torch.round(deep)


class Loop(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        for i in range(early.size(1)):
            deep = deep + i * torch.sigmoid(deep) * early[:, i].mean()
        return deep


class Filled(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        empty = torch.zeros_like(deep)
        empty[:, 1] = torch.sigmoid(deep[:, 0])
        return empty + deep


class Overwritten(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        deep = torch.sigmoid(deep)
        mean = deep.mean()
        deep.mul_(2.0)
        deep.add_(mean).sub_(early.mean())
        return deep


class InTurn(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        parts: list[torch.Tensor] = []
        parts.append(deep)
        parts.append(deep * 2)
        return torch.stack(parts).sum(0) + early.mean()


class OfShapes(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        ones = torch.ones_like(deep) + torch.arange(deep.size(3)).to(deep.dtype)
        return deep * ones / float(early.size(2)) + torch.tensor([0.5]).type_as(deep).expand_as(deep)


class Largest(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        values, _ = torch.max(deep, 1, keepdim=True)
        return deep + values + torch.sort(early.flatten(2), 2)[0][:, :, -1:].unsqueeze(3)


SOUND: tuple[type[Way], ...] = (
    Way, Detached, WithoutGradients, Branch, Loop, Filled, Overwritten, InTurn, OfShapes, Largest,
)  # fmt: skip


class Smooth(nn.Module):
    """A net without what stops eager autograd, or what it refuses."""

    def __init__(self, net: Way) -> None:
        super().__init__()
        self.first, self.second, self.head, self.kind = net.first, net.second, net.head, type(net)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        early = torch.tanh(self.first(x))
        deep = torch.tanh(self.second(early))
        if self.kind is Detached:
            deep = deep + early.mean()
        elif self.kind is WithoutGradients:
            deep = deep * early.mean()
        elif self.kind is Overwritten:
            deep = torch.sigmoid(deep)
            deep = deep * 2.0 + deep.mean() - early.mean()
        else:
            deep = self.kind.between(self, deep, early)  # type: ignore[arg-type]
        return {"logits": self.head(deep.mean((2, 3))), "early": early * 1.0}


@pytest.mark.parametrize("save", [scripted, traced_like(X)], ids=["scripted", "traced"])
@pytest.mark.parametrize("kind", SOUND)
def test_what_has_a_derivative_is_no_detour(kind: type[Way], save: Callable[[nn.Module], bytes]) -> None:
    torch.manual_seed(0)
    net = kind().eval()
    target = open_torchscript(save(net))
    affines = draw_affines(target, X)
    eager = Eager(Smooth(net), [tap.name for tap in target.taps], affines)
    aims = [
        Aim("first"),
        *([Aim("second")] if "second" in affines else []),
        Aim("logits", "softmax"),
        Aim("early"),
    ]
    assert_like_eager(target, eager, X, aims, affines)


class Rounded(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return deep + torch.round(early).mean()


class Divided(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return deep + torch.div(early, 0.1, rounding_mode="floor").mean()


class Masked(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return deep * (early.mean((1, 2, 3), keepdim=True) > 0.1)


class Item(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return deep * early.mean().item()


class Depending(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        if bool(early.mean() > -9):
            deep = deep * 2
        return deep


class Chosen(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return deep + early.mean((2, 3)).argmax(1).reshape(-1, 1, 1, 1)


class Written(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        empty = torch.zeros_like(deep)
        empty[:, 1] = torch.floor(deep[:, 0])
        return empty + deep


class WrittenThroughAView(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        flat = deep.view(-1)
        deep.round_()
        return flat.reshape(deep.shape) + 0


class InALoop(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        for i in range(early.size(1)):
            deep = deep + torch.ceil(early[:, i].mean())
        return deep


class InAList(Way):
    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        parts = [deep]
        parts.append(deep.to(torch.int32).to(deep.dtype))
        return torch.stack(parts).sum(0)


class TornUp(Way):
    """A ReLU is the threshold that gives its own limit."""

    def between(self, deep: torch.Tensor, early: torch.Tensor) -> torch.Tensor:
        return nn.functional.threshold(nn.functional.threshold(deep, 0.0, 0.0), 0.1, 0.0)


DETOURS: dict[type[Way], str] = {
    Rounded: "aten::round",
    Divided: "aten::div",
    Masked: "aten::gt",
    Item: "aten::item",
    Depending: "prim::If",
    Chosen: "aten::argmax",
    Written: "aten::floor",
    WrittenThroughAView: "aten::round_",
    InALoop: "aten::ceil",
    InAList: "aten::to",
    TornUp: "aten::threshold",
}


@pytest.mark.parametrize("kind", DETOURS)
def test_what_lies_behind_a_detour_is_left_out_and_its_operator_named(kind: type[Way]) -> None:
    torch.manual_seed(0)
    target = open_torchscript(scripted(kind().eval()))
    heads = [Aim(head) for head in target.heads if head.startswith("head")]
    assert len(heads) == 1
    gradients = target.differentiate([Aim("first"), Aim("logits", "softmax"), Aim("early"), *heads], X)
    assert gradients.aims == (Aim("first"), Aim("early"))
    assert gradients.taps == ("input", "first")
    (problem,) = gradients.problems
    assert problem.split(" ")[0] == DETOURS[kind]


def test_a_model_behind_a_detour_has_no_derivative() -> None:
    target = open_torchscript(scripted(Rounded().eval()))
    with pytest.raises(NoDerivative, match="aten::round"):
        target.differentiate([Aim("logits", "softmax")], X)
    with pytest.raises(NoDerivative):
        target.differentiate([Aim("no such tensor")], X)


class Indices(nn.Module):
    """An answer in a tuple, and what it was chosen by."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = self.head(torch.tanh(self.first(x)).mean((2, 3)))
        values, indices = logits.topk(2, 1)
        return logits, indices, values


class Empty(Way):
    """Has an output without entries."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        deep = torch.tanh(self.second(torch.tanh(self.first(x))))
        return {"logits": self.head(deep.mean((2, 3))), "boxes": deep[:, :0]}


def test_an_output_without_entries_hinders_nothing() -> None:
    backend = TorchScriptBackend(ModelFiles(scripted(Empty().eval())))
    backend.batch_bytes = 1
    gradients = backend.differentiate([Aim("boxes"), Aim("logits", "softmax")], X)
    assert gradients.run(X)["boxes"].shape == (2, 0, 12, 12)
    assert gradients.run(X)["logits"].shape == (2, 3)


class Scores(Way):
    """Has an output of one score a frame."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        deep = torch.tanh(self.second(torch.tanh(self.first(x))))
        return {"score": self.head(deep.mean((2, 3)))[:, 0]}


def test_classes_need_an_axis() -> None:
    target = open_torchscript(scripted(Scores().eval()))
    assert target.differentiate([Aim("score", "softmax"), Aim("first")], X).aims == (Aim("first"),)
    assert target.differentiate([Aim("score", "sigmoid")], X).aims == (Aim("score", "sigmoid"),)


def test_outputs_of_a_tuple_are_told_apart() -> None:
    target = open_torchscript(scripted(Indices().eval()))
    outputs = target.runner()(X)
    gradients = target.differentiate([Aim(name) for name in outputs], X)
    assert [aim.name for aim in gradients.aims] == ["output", "output_2"]
    found = gradients.run(X)
    for name, value in found.items():
        np.testing.assert_allclose(value, outputs[name], atol=1e-6)
