"""The poisons spoil what they say and nothing else; a row counts harm where the reference stands for something."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.accuracy.drifts.poisons import PARTLY, WHOLE
from benchmarks.accuracy.poison_records import PoisonRow

pytestmark = pytest.mark.integration

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 24, 24, 3)).astype(np.uint8)


def prepare(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((pixels.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", WHOLE)
def test_a_poison_gives_as_many_samples_and_leaves_the_pictures_alone(name: str, channels: int) -> None:
    pixels = PIXELS[..., :channels].copy()
    x, again = (WHOLE[name](pixels, prepare, np.random.default_rng(1)) for _ in "ab")
    assert (x.dtype, x.shape) == (np.float32, (4, channels, 24, 24))
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(pixels, PIXELS[..., :channels])


@pytest.mark.parametrize("name", [name for name in PARTLY if name not in ("swapped channels", "0..255")])
def test_spoilt_pictures_are_prepared_like_the_others(name: str) -> None:
    x = PARTLY[name](PIXELS, prepare, np.random.default_rng(1))
    assert x.min() >= -127 / 128
    assert x.max() <= 1


def test_harm_is_counted_on_what_the_reference_stands_for() -> None:
    partly = PoisonRow("fashion_mnist", 0, "mixed: 10% noise", "none", "input", "", before=0.9, after=0.8)
    wholly = replace(partly, poison="burnt out", spoilt_before=0.2, spoilt_after=0.8)
    assert partly.harm == pytest.approx(0.1)
    assert (wholly.harm, wholly.is_costly_lie, partly.is_costly_lie) == (0.0, True, False)
    assert not replace(partly, answer="refused").is_accepted
