"""Class scores out of a classifier's outputs."""

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.outputs.read import UnknownAnswers, layout_of, read_answers


def probabilities(outputs: dict[str, NDArray[np.floating]]) -> NDArray[np.float64]:
    return np.asarray(read_answers(outputs, layout_of(outputs)))


def test_logits_become_probabilities_and_probabilities_stay() -> None:
    logits = np.random.default_rng(0).normal(0, 4, (5, 7)).astype(np.float32)
    p = probabilities({"logits": logits})
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p.argmax(1) == logits.argmax(1)).all()
    np.testing.assert_allclose(probabilities({"p": p.astype(np.float32)}), p, atol=1e-6)
    np.testing.assert_allclose(probabilities({"map": logits.reshape(5, 7, 1, 1)}), p)


@pytest.mark.parametrize(
    "outputs",
    [
        {"boxes": np.zeros((2, 100, 4))},
        {"one": np.zeros((2, 1))},
        {"a": np.zeros((2, 3)), "b": np.ones((2, 4))},
        {"multi-label": np.full((2, 5), 0.9)},
        {"ids": np.zeros((2, 3), np.int64)},
    ],
)
def test_outputs_that_are_no_classification_are_refused(outputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(UnknownAnswers):
        layout_of(outputs)
