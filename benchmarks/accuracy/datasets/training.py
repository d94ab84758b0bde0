"""How the small nets on signals learn."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def fit(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    epochs: int,
    batch: int,
    peak_rate: float,
) -> nn.Module:
    """Train a net by cross-entropy, in whole batches, at a rate that rises to its peak and falls.

    Args:
        net: As made; is changed.
        optimizer: Of its parameters.
        x: Samples (N, ...).
        labels: Of each (N,), as the index of its class.
        epochs: Passes over the samples.
        batch: Samples of a step.
        peak_rate: The highest learning rate.

    Returns:
        The net, in evaluation mode.
    """
    given, wanted = torch.from_numpy(x), torch.from_numpy(labels)
    steps = len(x) // batch
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, epochs=epochs, steps_per_epoch=steps)
    for _ in range(epochs):
        for index in torch.randperm(len(x))[: steps * batch].split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(given[index]), wanted[index]).backward()
            optimizer.step()
            rate.step()
    return net.eval()
