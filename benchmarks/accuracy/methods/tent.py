"""TENT: entropy minimisation of a float net's BatchNorm scales and offsets, with the statistics of each batch.

D. Wang et al., Tent: Fully Test-Time Adaptation by Entropy Minimization, ICLR 2021 (arXiv 2006.10726); settings of
its section 4 and of the authors' code. It needs the float net with live BatchNorm, its gradients, and batches of
pictures even to answer: none of them is there on the device. Needs torch.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TentSettings:
    """How TENT is run for one kind of net."""

    batch: int
    """Pictures of a step, and of an answer."""
    optimizer: Callable[[Iterable[Any]], Any]
    """Makes torch's optimizer of the parameters."""


SMALL = TentSettings(200, lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
"""For small pictures (CIFAR there)."""
LARGE = TentSettings(64, lambda parameters: torch.optim.SGD(parameters, lr=2.5e-4, momentum=0.9))
"""For ImageNet."""


def tent(
    net: nn.Module, x: Samples, settings: TentSettings, passes: int, *, is_still: bool = False
) -> nn.Module:
    """A copy of ``net`` that was adapted to ``x`` (N, C, H, W), a step a batch, ``passes`` times over all of it.

    It goes on using the statistics of whatever batch it is given; see :func:`answers`. With ``is_still``, which is no
    part of the paper, it keeps those of its training: on a site whose healthy pictures are not like the training's,
    batch statistics cost more than the drift.
    """
    torch.set_num_threads(1)
    adapted = keep_statistics(net) if is_still else use_batch_statistics(net)
    parameters = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = settings.optimizer(parameters)
    for _ in range(passes):
        for part in _parts(x, settings.batch):
            optimizer.zero_grad()
            mean_entropy(adapted(part)).backward()
            optimizer.step()
    return adapted


def use_batch_statistics(net: nn.Module) -> nn.Module:
    """A copy whose BatchNorms normalise with the batch at hand; only their scales and offsets can learn."""
    adapted = keep_statistics(net).train()
    for module in _norms(adapted):
        module.track_running_stats = False
        module.running_mean = module.running_var = None
    return adapted


def keep_statistics(net: nn.Module) -> nn.Module:
    """A copy in evaluation mode of which only the scales and offsets of the BatchNorms can learn."""
    adapted = copy.deepcopy(net).eval().requires_grad_(False)
    for module in _norms(adapted):
        module.requires_grad_(True)
    return adapted


def answers(net: nn.Module, x: Samples, settings: TentSettings) -> NDArray[np.int64]:
    """(N,) classes, a batch at a time."""
    with torch.inference_mode():
        return np.concatenate([net(part).argmax(dim=1).numpy() for part in _parts(x, settings.batch)])


def mean_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Of the softmax of (N, K) logits, in nats."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


def _norms(net: nn.Module) -> Iterator[Any]:
    return (module for module in net.modules() if isinstance(module, nn.BatchNorm2d))


def _parts(x: Samples, batch: int) -> Iterator[torch.Tensor]:
    """Equal parts of no more than ``batch`` pictures: a short last one would have poor statistics."""
    return (torch.from_numpy(part) for part in np.array_split(x, ceil(len(x) / batch)))
