"""The power spectrum in octaves."""

import numpy as np
import pytest

from calibration.stats.spectrum import MOST_OCTAVES, octave_power, octaves, power


def test_white_noise_of_variance_four_has_four_a_line():
    x = np.random.default_rng(0).normal(0, 2, (500, 64))
    assert power(x).mean(axis=0)[3:-1] == pytest.approx(4.0, rel=0.2)


def test_the_level_does_not_count():
    x = np.random.default_rng(0).normal(0, 1, (4, 32))
    assert power(x + 1e4) == pytest.approx(power(x), rel=1e-6)


@pytest.mark.parametrize("length", [8, 40, 50, 100, 256, 4096])
def test_octaves_hold_every_line_but_the_level_once(length):
    parts = octaves(length)
    lines = [line for part in parts for line in range(part.start, part.stop)]
    assert sorted(lines) == list(range(1, length // 2 + 1))
    assert len(parts) <= MOST_OCTAVES
    assert length < 10 or lines[-1] < lines[0]


def test_a_tone_is_in_its_octave():
    t = np.arange(128)
    tone = np.sin(2 * np.pi * 40 / 128 * t)[np.newaxis]
    assert octave_power(tone)[0].argmax() == 0
    assert octave_power(np.sin(2 * np.pi * 20 / 128 * t)[np.newaxis])[0].argmax() == 1
