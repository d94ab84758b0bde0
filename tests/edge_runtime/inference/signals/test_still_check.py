"""A channel that has stopped changing is named; one that is slow by nature is not."""

import numpy as np
import pytest

from edge_runtime.inference.signals.still_check import LEAST_WINDOWS, StillCheck


def window(*columns):
    return np.array(columns, np.float64).T


def noise(seed):
    return np.random.default_rng(seed).normal(size=8)


def note_all(check, windows):
    for one in windows:
        check.note(one)


@pytest.fixture
def check():
    return StillCheck(("ax", "ay"))


def test_a_channel_that_dies_is_named_and_forgotten_when_it_comes_back(check):
    note_all(check, [window(noise(i), noise(99 + i)) for i in range(3)])
    note_all(check, [window(noise(i), np.zeros(8)) for i in range(LEAST_WINDOWS - 1)])
    assert check.problem is None
    check.note(window(noise(7), np.zeros(8)))
    assert "ay" in check.problem
    assert "ax" not in check.problem
    check.note(window(noise(7), noise(8)))
    assert check.problem is None


def test_a_value_that_is_slow_by_nature_is_no_problem(check):
    for step in range(20):
        note_all(check, [window(noise(i), np.full(8, step)) for i in range(LEAST_WINDOWS - 1)])
    assert check.problem is None


def test_a_channel_that_never_changed_is_no_news(check):
    note_all(check, [window(noise(i), np.ones(8)) for i in range(5 * LEAST_WINDOWS)])
    assert check.problem is None


def test_missing_values_are_no_stillness(check):
    note_all(check, [window(noise(i), noise(i)) for i in range(2)])
    note_all(check, [window(noise(i), np.full(8, np.nan)) for i in range(3 * LEAST_WINDOWS)])
    assert check.problem is None
