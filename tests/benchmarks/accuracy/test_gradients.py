"""The benchmark of derivatives, on a small net."""

import pytest

from benchmarks.accuracy.gradients import ALLOWED, compare
from tests.support.onnx_nets import with_batch_norm

pytestmark = pytest.mark.integration


def test_agrees_with_torch_on_a_small_net():
    found = compare(with_batch_norm(), (3, 16, 16))
    assert (found.taps, found.aims, found.problems) == (3, 3, ())
    assert 0 < found.worst <= ALLOWED
