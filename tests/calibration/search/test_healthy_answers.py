"""The answers to the healthy samples: those of the whole, asked for in small parts."""

import numpy as np
import pytest

from calibration.baseline.packing import pack_healthy_samples
from calibration.errors import DataError
from calibration.outputs.read import ClassScores, NoAnswers
from calibration.search.healthy_answers import ANSWERED_AT_ONCE, add_answers

SAMPLES = np.random.default_rng(0).integers(0, 256, (53, 3, 8, 8)).astype(np.float32)


class LinearModel:
    """Logits that depend on the sample alone; notes how many were asked for at once."""

    def __init__(self):
        self.asked = list[int]()
        self.weights = np.random.default_rng(1).normal(0, 0.01, (3 * 8 * 8, 5)).astype(np.float32)

    def __call__(self, x):
        self.asked.append(len(x))
        return {"logits": (x[:, None].reshape(len(x), 1, -1) @ self.weights)[:, 0]}


def test_they_are_those_of_all_samples_at_once():
    model = LinearModel()
    packed = add_answers(pack_healthy_samples(SAMPLES), model, None, None)
    assert packed.layout is ClassScores.LOGITS
    logits = model(packed.samples())["logits"].astype(np.float64)
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(packed.answers, scores / scores.sum(axis=1, keepdims=True), atol=1e-6)


def test_with_a_known_layout_few_samples_are_unpacked_at_once():
    model = LinearModel()
    add_answers(pack_healthy_samples(SAMPLES), model, "logits", ClassScores.LOGITS)
    assert sum(model.asked) == len(SAMPLES)
    assert max(model.asked) <= ANSWERED_AT_ONCE


def test_a_model_whose_answers_mean_nothing_gives_none():
    packed = add_answers(pack_healthy_samples(SAMPLES), LinearModel(), None, NoAnswers.RAW)
    assert (packed.answers, packed.layout, len(packed)) == (None, None, len(SAMPLES))


def test_answers_that_are_no_numbers_are_refused_with_their_frames():
    def broken(x):
        return {"logits": np.where(x[:, :1, 0, 0] > 200, np.nan, x[:, :3, 0, 0])}

    bad = np.flatnonzero(SAMPLES[:, 0, 0, 0] > 200)
    with pytest.raises(DataError) as refusal:
        add_answers(pack_healthy_samples(SAMPLES), broken, None, ClassScores.LOGITS)
    assert set(refusal.value.frames) >= set(bad.tolist())
