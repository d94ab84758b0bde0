"""Small deterministic torch nets for the tests, and the three ways to save them; real files, no fakes."""

import io
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


@contextmanager
def quiet() -> Any:
    """torch calls TorchScript deprecated at every step, and warns of what tracing makes constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def saved(module: Any) -> bytes:
    buffer = io.BytesIO()
    with quiet():
        torch.jit.save(module, buffer)
    return buffer.getvalue()


def scripted(net: nn.Module) -> bytes:
    with quiet():
        return saved(torch.jit.script(net))


def traced(net: nn.Module, shape: tuple[int, ...] = (2, 3, 16, 16)) -> bytes:
    with quiet():
        return saved(torch.jit.trace(net, torch.randn(shape), check_trace=False))


def frozen(net: nn.Module, folded: bool = True) -> bytes:
    with quiet():
        return saved(torch.jit.freeze(torch.jit.script(net), optimize_numerics=folded))


def optimized(net: nn.Module) -> bytes:
    with quiet():
        return saved(torch.jit.optimize_for_inference(torch.jit.script(net)))


def lived_in(net: nn.Module, seed: int = 0) -> nn.Module:
    """``net`` with BatchNorm parameters and statistics as after a training, in evaluation mode."""
    draw = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.affine:
                module.weight.data.uniform_(0.5, 2.0, generator=draw)
                module.bias.data.normal_(0, 0.5, generator=draw)
            if module.track_running_stats:
                module.running_mean.normal_(0, 0.1, generator=draw)
                module.running_var.uniform_(0.2, 0.6, generator=draw)
    return net.eval()


class Classifier(nn.Module):
    """conv - BN - relu in place, depthwise conv - BN, conv with bias, pool, linear head: 4 taps with the plain conv."""

    def __init__(self, bias: bool = True, affine: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8, affine=affine)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.bn2 = nn.BatchNorm2d(8, affine=affine)
        self.plain = nn.Conv2d(8, 12, 1, bias=bias)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu_(self.bn1(self.stem(x)))
        x = functional.relu6(self.bn2(self.depthwise(x)))
        x = torch.relu(self.plain(x))
        return self.head(self.drop(x.mean((2, 3))))


def classifier(seed: int = 0, **options: bool) -> Classifier:
    """The head is fitted to what the random features do, so that the answers are diverse."""
    torch.manual_seed(seed)
    net = lived_in(Classifier(**options), seed)
    from tests.support.onnx_nets import pictures

    seen: list[torch.Tensor] = []
    handle = net.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        net(torch.from_numpy(pictures(128, seed=77)))
        handle.remove()
        net.head.weight.copy_(torch.randn(10, 12) / (seen[0].std(0) + 1e-3))
        net.head.bias.copy_(-net.head.weight @ seen[0].mean(0))
    return net


class Dimensions(nn.Module):
    """conv - BN - relu, transposed grouped conv - relu, conv, head, in 1, 2 or 3 dimensions."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
        transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1]
        self.first = conv(2, 4, 3)
        self.norm = norm(4)
        self.up = transposed(4, 6, 2, stride=2, groups=2)
        self.last = conv(6, 5, 3, padding="same")
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.relu(self.last(torch.relu(self.up(x))))
        return self.head(x.flatten(2).mean(2))


class Perceptron(nn.Module):
    """linear - BN, linear without bias on (N, T, C), product and sum, addmm; head."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.two = nn.Linear(8, 7, bias=False)
        self.matrix = nn.Parameter(torch.randn(7, 5))
        self.offset = nn.Parameter(torch.randn(5))
        self.three = nn.Linear(5, 9)
        self.head = nn.Linear(9, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.one(x))).unsqueeze(1)
        x = torch.relu(self.two(x))
        x = torch.relu(torch.matmul(x, self.matrix) + self.offset).squeeze(1)
        x = torch.relu(torch.addmm(self.three.bias, x, self.three.weight.t()))
        return self.head(x)


class Statements(nn.Module):
    """Layers whose only way to the answers are statements without a value: y.mul_(...), a slice, list.append."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.gate = nn.Conv2d(3, 6, 3, 2, 1)
        self.part = nn.Conv2d(6, 3, 1)
        self.wide = nn.Conv2d(6, 4, 1)
        self.last = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.hardswish(self.stem(x))
        y.mul_(torch.sigmoid(self.gate(x)))
        z = y.clone()
        z[:, :3] = self.part(y)
        parts = [torch.relu(self.wide(y))]
        parts.append(torch.relu(self.last(z)))
        return self.head(torch.cat(parts, 1).mean((2, 3)))


def hooked(net: nn.Module, x: np.ndarray, layers: list[str]) -> dict[str, np.ndarray]:
    """What each layer of the eager net gives, by its path."""
    seen: dict[str, np.ndarray] = {}
    handles = []
    for name in layers:
        keep: Callable[..., None] = lambda _m, _i, y, name=name: seen.update({name: y.numpy().copy()})  # noqa: E731
        handles.append(net.get_submodule(name).register_forward_hook(keep))
    with torch.no_grad():
        net(torch.from_numpy(x))
    for handle in handles:
        handle.remove()
    return seen
