"""An answer that gives the input again, told from the input as it came."""

import numpy as np
import pytest

from calibration.patch import Affine
from edge_runtime.inference.engines.corrected_input import CorrectedInputEngine
from tests.support.fake_engine import FakeEngine

ON_INPUT = Affine(np.array([2.0, 0.5, 1.0], np.float32), np.array([0.0, 1.0, -1.0], np.float32))


def corrected(x, axis):
    shape = [1] * x.ndim
    shape[axis] = 3
    return x * ON_INPUT.scale.reshape(shape) + ON_INPUT.offset.reshape(shape)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 7), 1), ((2, 7, 3), 2), ((2, 4, 5, 3), 3), ((2, 3), 1)])
def test_the_answer_is_as_far_from_the_input_as_from_the_corrected_one(shape, axis):
    x = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    again = corrected(x, axis) + 0.25
    engine = CorrectedInputEngine(FakeEngine(lambda _: {"again": again}), ON_INPUT, axis - 1, "again")
    found = engine.infer(x)["again"]
    np.testing.assert_allclose(found - x, 0.25, atol=1e-5)
    assert found.dtype == np.float32


def test_other_outputs_and_other_shapes_stay_as_they_are():
    x = np.zeros((2, 3, 7), np.float32)
    given = {"code": np.ones((2, 4), np.float32), "again": np.ones((2, 7), np.float32)}
    for output in (None, "again", "code", "missing"):
        engine = CorrectedInputEngine(FakeEngine(lambda _: given), ON_INPUT, 0, output)
        for name, array in engine.infer(x).items():
            np.testing.assert_array_equal(array, given[name])


def test_closing_it_frees_the_model():
    inner = FakeEngine()
    engine = CorrectedInputEngine(inner, ON_INPUT, 0, None)
    engine.warm_up()
    engine.close()
    assert (inner.is_warm, inner.is_closed) == (True, True)
    assert (engine.input, engine.outputs, engine.library, engine.runs_on) == (
        inner.input,
        inner.outputs,
        inner.library,
        inner.runs_on,
    )
