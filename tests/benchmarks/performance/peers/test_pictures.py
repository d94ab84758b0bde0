"""Picture code as documentation shows it: it prepares what the daemon prepares."""

import numpy as np
import pytest

from benchmarks.performance.bare_runs import BUNDLE
from benchmarks.performance.peers.pictures import READERS
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.preprocess import make_preprocessor


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_tensor_is_nearly_the_daemon_s(name: str) -> None:
    bundle = load_bundle(BUNDLE)
    picture = bundle.read(bundle.manifest.golden[0].input)
    sample = make_preprocessor(bundle.manifest.preprocess).prepare(Frame("c", 0, picture, 0.0, 0.0))
    assert isinstance(sample, Sample)
    found = READERS[name](picture)
    assert (found.shape, found.dtype) == ((1, 3, 224, 224), np.float32)
    assert float(np.abs(found[0] - sample.tensor).mean()) < 0.05
