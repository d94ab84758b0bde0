"""One pass inside the graph gives what layer-by-layer recalibration gives; in every format."""

import numpy as np
import pytest

from benchmarks.accuracy.methods import sequential
from calibration.errors import TapMismatch
from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP, Moments
from calibration.targets import passes
from calibration.targets.base import Normalisation
from calibration.targets.open import open_onnx
from calibration.targets.target import Target
from tests.support.every_target import NAMES, opened, samples
from tests.support.onnx_nets import FLOAT_NETS, classifier, hazy, pictures, with_batch_norm
from tests.support.signal_nets import gained

pytestmark = pytest.mark.integration


def furthest(one: Moments, other: Moments) -> float:
    """Largest difference of a mean or a standard deviation, in units of the tap's own spread."""
    assert list(one) == list(other)
    found = 0.0
    for tap, first in one.items():
        unit = np.sqrt(first.var.mean())
        second = other[tap]
        found = max(found, float(np.abs(first.mean - second.mean).max() / unit))
        found = max(found, float(np.abs(np.sqrt(first.var) - np.sqrt(second.var)).max() / unit))
    return found


def both(
    target: Target, x: np.ndarray, prior: float, on_input: Affine | None = None
) -> tuple[Moments, Moments]:
    """In one pass, and layer by layer."""
    normalise = Normalisation(target.observe(x).moments, prior, on_input)
    drifted = hazy(x) if x.ndim == 4 else gained(x)
    return target.observe(drifted, normalise).moments, sequential.observe(target, drifted, normalise)


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_in_one_pass_is_the_sequential_result(name: str) -> None:
    in_graph, by_layer = both(opened(name), samples(name, passes.MICRO_BATCH), 0.3)
    is_float = "int8" not in name
    assert furthest(in_graph, by_layer) < (1e-4 if is_float else 0.01)  # the int32 bias is rounded


@pytest.mark.parametrize("name", FLOAT_NETS)
def test_every_kind_of_layer_agrees_with_the_sequential_result(name: str) -> None:
    make, data = FLOAT_NETS[name]
    in_graph, by_layer = both(open_onnx(make()), data(passes.MICRO_BATCH), 0.0)
    assert furthest(in_graph, by_layer) < 1e-4


def test_micro_batches_stay_close_to_all_frames_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    in_graph, by_layer = both(open_onnx(classifier()), pictures(32), 0.0)
    assert furthest(in_graph, by_layer) < 1e-4  # small pictures are corrected all together
    monkeypatch.setattr(passes, "MICRO_BATCH_VALUES", 0)
    in_graph, by_layer = both(open_onnx(classifier()), pictures(32), 0.0)
    assert 1e-4 < furthest(in_graph, by_layer) < 0.2


def test_behind_a_corrected_input_too() -> None:
    affine = Affine(np.asarray([1.5, 1, 0.7], np.float32), np.asarray([0.1, 0, -0.2], np.float32))
    in_graph, by_layer = both(open_onnx(with_batch_norm()), pictures(8), 0.0, affine)
    assert furthest(in_graph, by_layer) < 1e-4


def test_only_the_first_layers_when_asked() -> None:
    target, x = open_onnx(classifier()), pictures(8)
    normalise = Normalisation(target.observe(x).moments)
    assert list(sequential.observe(target, x, normalise, first_taps=1)) == [INPUT_TAP, "conv1"]
    with pytest.raises(TapMismatch):
        sequential.observe(open_onnx(with_batch_norm()), x, normalise)
