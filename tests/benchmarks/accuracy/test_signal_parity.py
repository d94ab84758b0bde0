"""Real files of every format, made from small nets on signals: a patch against their own moments is re-estimation."""

import numpy as np
import pytest
import torch

from benchmarks.accuracy import signal_parity
from benchmarks.accuracy.datasets import three_channel_signals as signals
from benchmarks.accuracy.datasets.three_channel_signals import Part
from benchmarks.accuracy.methods.oracles import fvcore_update_bn

pytestmark = pytest.mark.integration


def part(n: int, seed: int) -> Part:
    rng = np.random.default_rng(seed)
    return Part(rng.normal(0, 1, (n, 3, 40)).cumsum(2).astype(np.float32) / 4, rng.integers(0, 10, n))


@pytest.fixture(scope="module")
def found() -> list[signal_parity.Found]:
    torch.manual_seed(0)
    net = fvcore_update_bn(signals.perceptron(), signals.flat(part(256, 9).x))  # statistics of its own
    split = {name: part(64, place) for place, name in enumerate(signals.PARTS)}
    return list(signal_parity.measure_net("small", signals.SignalNet(net, signals.flat, lambda x: x), split))


def test_every_format_is_measured_under_every_drift(found: list[signal_parity.Found]) -> None:
    assert len({one.format for one in found}) == 9
    assert len(found) == 9 * len(signals.DRIFTS)


def test_against_the_nets_own_moments_a_patch_is_re_estimation(found: list[signal_parity.Found]) -> None:
    in_float = [one for one in found if "int8" not in one.format]
    assert len(in_float) == 6 * len(signals.DRIFTS)
    assert max(one.answers for one in in_float) <= 1e-3
    assert all(one.gap(signal_parity.OWN) == 0 for one in in_float)


def test_weights_of_int8_formats_are_kept(found: list[signal_parity.Found]) -> None:
    assert all(one.keeps_weights for one in found if "int8" in one.format)


def test_the_parts_of_a_split_have_no_signal_in_common() -> None:
    split = signals.load_split(3)
    seen = [{row.tobytes() for row in part.x.reshape(-1, signals.LENGTH)} for part in split.values()]
    assert [len(part.x) for part in split.values()] == [count for _, count in signals.PARTS.values()]
    assert all(one.isdisjoint(other) for i, one in enumerate(seen) for other in seen[:i])
    test = split["test"]
    assert set(test.labels.tolist()) == set(range(10))
