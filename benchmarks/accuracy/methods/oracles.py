"""BatchNorm re-estimation on the float model in its training framework, by the two recipes people use.

What a recalibrated artifact is compared with: on the device neither is possible. Needs torch and fvcore (extra
``bench``).
"""

import copy
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Samples = NDArray[np.float32]

MOST_PER_BATCH = 64


def swa_update_bn(net: nn.Module, x: Samples) -> nn.Module:
    """A copy of ``net`` with statistics by ``torch.optim.swa_utils.update_bn``: plain averages over the batches."""
    again = copy.deepcopy(net)
    torch.optim.swa_utils.update_bn(list(_batches(x)), again)
    return again.eval()


def fvcore_update_bn(net: nn.Module, x: Samples, per_batch: int = MOST_PER_BATCH) -> nn.Module:
    """A copy of ``net`` with statistics by fvcore's ``update_bn_stats``: the population variance over all batches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its other modules still use torch.jit.script
        from fvcore.nn.precise_bn import update_bn_stats

    again = copy.deepcopy(net).train()
    batches = _batches(x, per_batch)
    update_bn_stats(again, batches, num_iters=len(batches))
    return again.eval()


ORACLES: Mapping[str, Callable[[nn.Module, Samples], nn.Module]] = {
    "float, torch update_bn": swa_update_bn,
    "float, fvcore": fvcore_update_bn,
}


def classify(net: nn.Module, x: Samples) -> NDArray[np.int64]:
    """(N,) predicted classes."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        return np.concatenate([net(part).argmax(dim=1).numpy() for part in _batches(x)])


def _batches(x: Samples, size: int = MOST_PER_BATCH) -> tuple[torch.Tensor, ...]:
    parts: tuple[torch.Tensor, ...] = torch.from_numpy(x).split(size)
    return parts
