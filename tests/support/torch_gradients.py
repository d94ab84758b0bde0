"""Nets for the derivatives of TorchScript files, and eager torch in float64 to compare them with."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Aim
from calibration.targets.target import Target
from tests.support.gradients import loss_of
from tests.support.onnx_nets import pictures
from tests.support.torch_nets import (
    Dimensions,
    Perceptron,
    Statements,
    classifier,
    frozen,
    lived_in,
    quiet,
    saved,
    scripted,
)


class Residual(nn.Module):
    """Stem, depthwise block with squeeze and excite, two skips, a transposed conv, several outputs in a dict.

    Everything is written in place that can be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.depth_bn = nn.BatchNorm2d(8)
        self.squeeze = nn.Conv2d(8, 4, 1)
        self.excite = nn.Conv2d(4, 8, 1)
        self.down = nn.Conv2d(8, 12, 2, 2)
        self.up = nn.ConvTranspose2d(12, 8, 2, 2, bias=False)
        self.up_bn = nn.BatchNorm2d(8, affine=False)
        self.last = nn.Conv2d(16, 6, 1)
        self.clip = nn.Hardtanh(-0.4, 1.0, inplace=True)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = functional.hardtanh(self.stem_bn(self.stem(x)), 0.0, 6.0, inplace=True)
        y = functional.hardswish(self.depth_bn(self.depth(x)))
        gate = torch.sigmoid(self.excite(torch.relu_(self.squeeze(y.mean((2, 3), True)))))
        y *= gate
        y += x
        deep = functional.leaky_relu_(self.down(functional.pad(y, [1, 1, 1, 1])), 0.1)
        deep = functional.silu(self.up_bn(self.up(functional.max_pool2d(deep, 3, 1, 1))))
        wide = torch.cat([y, deep[:, :, 1:-1, 1:-1]], 1)
        z = functional.elu(self.last(wide), inplace=True)
        pooled = functional.adaptive_avg_pool2d(z, 1).flatten(1)
        return {"logits": self.head(pooled), "map": self.clip(z)}


class Attention(nn.Module):
    """Patches, one block of two heads and a perceptron, a mean over the tokens; linear layers on (N, T, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 16, 12) / 4)
        self.norm = nn.LayerNorm(12)
        self.keys = nn.Linear(12, 36)
        self.out = nn.Linear(12, 12)
        self.wide = nn.Linear(12, 20)
        self.narrow = nn.Linear(20, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        parts = self.keys(self.norm(x)).reshape(x.size(0), -1, 3, 2, 6).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(parts[0] @ parts[1].transpose(-2, -1) / 6**0.5, -1) @ parts[2]
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        x = x + self.narrow(functional.gelu(self.wide(x)))
        return torch.log_softmax(self.head(x.mean(1)), 1)


class CorrectedPerceptron(nn.Module):
    """``Perceptron`` with its products as modules, so that they can be hooked."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.norm, self.one, self.two, self.three, self.head = net.norm, net.one, net.two, net.three, net.head
        self.product = nn.Linear(7, 5)
        self.product.weight.data, self.product.bias.data = net.matrix.data.t(), net.offset.data

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.two(torch.relu(self.norm(self.one(x))).unsqueeze(1)))
        return self.head(torch.relu(self.three(torch.relu(self.product(x)).squeeze(1))))


def traced_like(x: np.ndarray) -> Callable[[nn.Module], bytes]:
    """Traces with the first frames of ``x``; the answer may be a dict."""

    def trace(net: nn.Module) -> bytes:
        with quiet():
            return saved(torch.jit.trace(net, torch.from_numpy(x[:2]), check_trace=False, strict=False))

    return trace


FORMS: dict[str, Callable[[np.ndarray], Callable[[nn.Module], bytes]]] = {
    "scripted": lambda _: scripted,
    "traced": traced_like,
    "frozen": lambda _: frozen,
    "frozen with live BatchNorm": lambda _: lambda net: frozen(net, folded=False),
}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


def _seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def seeded() -> nn.Module:
        torch.manual_seed(1)
        return lived_in(make())

    return seeded


TORCH_NETS: dict[str, tuple[Callable[[], nn.Module], np.ndarray, list[str]]] = {
    "plain": (classifier, pictures(4), ["bn1", "bn2", "plain"]),
    "no weight in the BatchNorm": (
        lambda: classifier(affine=False, bias=False), pictures(4), ["bn1", "bn2", "plain"],
    ),
    "1d": (_seeded(lambda: Dimensions(1)), noise(4, 2, 9), ["norm", "up", "last"]),
    "2d": (_seeded(lambda: Dimensions(2)), noise(4, 2, 8, 9), ["norm", "up", "last"]),
    "3d": (_seeded(lambda: Dimensions(3)), noise(4, 2, 6, 7, 8), ["norm", "up", "last"]),
    "linear": (_seeded(Perceptron), noise(6, 6), ["norm", "two", "product", "three"]),
    "residual": (
        _seeded(Residual), pictures(4),
        ["stem_bn", "depth_bn", "squeeze", "excite", "down", "up_bn", "last"],
    ),
    "statements": (_seeded(Statements), pictures(4), ["stem", "gate", "part", "wide", "last"]),
    "attention": (_seeded(Attention), pictures(4), ["patches", "keys", "out", "wide", "narrow"]),
}  # fmt: skip
"""How it is made, pictures for it, and the layers that its taps are the outputs of, in graph order."""


def draw_affines(target: Target, x: np.ndarray, seed: int = 0) -> dict[str, Affine]:
    """A correction for the input and every tap."""
    rng = np.random.default_rng(seed)
    channels = {INPUT_TAP: x.shape[1], **{tap.name: tap.channels for tap in target.taps}}
    return {
        tap: Affine(
            rng.uniform(0.8, 1.2, count).astype(np.float32), rng.normal(0, 0.1, count).astype(np.float32)
        )
        for tap, count in channels.items()
    }


class Eager:
    """A net in float64 whose layers are corrected behind hooks."""

    def __init__(self, net: nn.Module, layers: Sequence[str], affines: Mapping[str, Affine]) -> None:
        """``affines``: by tap, ``input`` first, then one for each of ``layers``."""
        twin = CorrectedPerceptron(net) if isinstance(net, Perceptron) else net
        self.net = copy.deepcopy(twin).eval().double()
        for module in self.net.modules():
            if isinstance(module, nn.Hardtanh):
                module.inplace = False  # autograd needs what it overwrites
        self.settings = {
            tap: [torch.from_numpy(part.astype(np.float64)).requires_grad_() for part in (a.scale, a.offset)]
            for tap, a in affines.items()
        }
        self._seen: dict[str, torch.Tensor] = {}
        for layer, tap in zip(layers, list(affines)[1:], strict=True):
            module = self.net.get_submodule(layer)
            module.register_forward_hook(lambda m, _, y, tap=tap: self._correct(m, y, tap))

    def _correct(self, module: nn.Module | None, y: torch.Tensor, tap: str) -> torch.Tensor:
        shape = [-1] if isinstance(module, nn.Linear) else [-1] + [1] * (y.ndim - 2)
        scale, offset = self.settings[tap]
        better = y * scale.reshape(shape) + offset.reshape(shape)
        self._seen[tap] = better.clone()
        return better

    def __call__(self, x: np.ndarray) -> dict[str, torch.Tensor]:
        """The taps, corrected, and the outputs."""
        answer = self.net(self._correct(None, torch.from_numpy(x.astype(np.float64)), INPUT_TAP))
        return self._seen | (answer if isinstance(answer, dict) else {"output": answer})


def as_probabilities(x: np.ndarray) -> np.ndarray:
    """Along axis 1."""
    whole = np.exp(x)
    return np.asarray(whole / whole.sum(1, keepdims=True), np.float32)


def assert_like_eager(
    target: Target,
    eager: Eager,
    x: np.ndarray,
    aims: Sequence[Aim],
    affines: Mapping[str, Affine],
    *,
    has_problems: bool = False,
) -> None:
    """Losses and slopes of ``aims`` within a thousandth, with weights by channel and by value."""
    gradients = target.differentiate(aims, x)
    assert gradients.aims == tuple(aims)
    assert bool(gradients.problems) == has_problems
    assert gradients.batch == len(x)
    rng, healthy, seen = np.random.default_rng(5), gradients.run(x), eager(x)
    targets, weights = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for number, aim in enumerate(aims):
        y = healthy[aim.name]
        assert y.dtype == np.float32
        assert y.shape == seen[aim.name].shape
        shape = list(y.shape) if number % 2 else [1, *y.shape[1:2], *[1] * (y.ndim - 2)]
        weights[aim.name] = rng.uniform(0.5, 2, shape).astype(np.float32)
        drift = rng.normal(0, 1, y.shape).astype(np.float32)
        targets[aim.name] = y + drift if aim.kind == "squares" else as_probabilities(drift)
    losses, slopes = gradients.step(x, {tap: affines[tap] for tap in gradients.taps}, targets, weights)
    wanted = {
        aim.name: loss_of(
            aim.kind, seen[aim.name],
            *(torch.from_numpy(v[aim.name].astype(np.float64)) for v in (targets, weights)),
        )
        for aim in aims
    }  # fmt: skip
    assert list(losses) == list(wanted)
    for name, loss in wanted.items():
        assert abs(losses[name] - loss.item()) <= 1e-4 * abs(loss.item())
    torch.stack(list(wanted.values())).sum().backward()
    touched = [tap for tap, (scale, _) in eager.settings.items() if scale.grad is not None]
    assert list(gradients.taps) == list(slopes) == touched
    for tap in touched:
        for got, leaf in zip((slopes[tap].scale, slopes[tap].offset), eager.settings[tap], strict=True):
            right = leaf.grad.numpy()
            assert got.dtype == np.float64
            assert np.linalg.norm(got - right) <= 1e-3 * np.linalg.norm(right), tap
