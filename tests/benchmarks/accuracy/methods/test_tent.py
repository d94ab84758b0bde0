"""Only scales and offsets of BatchNorms learn, the entropy falls, and the net that was given stays as it was."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.accuracy.methods import tent

pytestmark = pytest.mark.integration

X = np.random.default_rng(0).normal(1.5, 2.0, (40, 2, 6, 6)).astype(np.float32)
QUICK = tent.TentSettings(16, lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9))


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
    return nn.Sequential(*layers).eval()


def entropy(net: nn.Module) -> float:
    with torch.inference_mode():
        return float(tent.mean_entropy(net(torch.from_numpy(X))))


def test_entropy_falls_and_only_batch_norms_learn(net: nn.Module) -> None:
    before = copy.deepcopy(net.state_dict())
    adapted = tent.tent(net, X, QUICK, passes=5)
    assert entropy(adapted) < entropy(tent.use_batch_statistics(net))
    learnt = {name for name, value in adapted.state_dict().items() if not torch.equal(value, before[name])}
    assert learnt == {"1.weight", "1.bias"}
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_training_statistics_can_stay(net: nn.Module) -> None:
    adapted = tent.tent(net, X, QUICK, passes=5, is_still=True)
    assert not adapted.training
    assert torch.equal(adapted[1].running_mean, net[1].running_mean)
    assert not torch.equal(adapted[1].weight, net[1].weight)
    assert entropy(adapted) < entropy(net)


def test_answers_come_from_the_statistics_of_equal_batches(net: nn.Module) -> None:
    adapted = tent.use_batch_statistics(net)
    found = tent.answers(adapted, X, QUICK)
    parts = [adapted(torch.from_numpy(part)).argmax(dim=1).numpy() for part in np.array_split(X, 3)]
    np.testing.assert_array_equal(found, np.concatenate(parts))
    assert found.shape == (40,)


def test_entropy_is_that_of_the_formula() -> None:
    logits = torch.tensor([[0.0, 0.0], [30.0, 0.0]])
    assert float(tent.mean_entropy(logits)) == pytest.approx(np.log(2) / 2, abs=1e-6)
