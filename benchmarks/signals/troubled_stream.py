"""Streams of sensors in trouble, and what a reader can get out of them."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.signals.payloads import TEXTS, WRITERS
from benchmarks.signals.window import LENGTH, RATE_HZ, make_window

WINDOWS, BLOCK = 40, 32
"""Windows of a stream, and samples of a message."""
TAIL = 2
"""Further windows without trouble, after which every earlier one is complete."""
MOST_MISSING = 0.1
"""Share of a channel that may be filled, as the bundle of the benchmark says by default."""
TROUBLES = ("missing", "late", "length", "encoding")


@dataclass(slots=True)
class Stream:
    """Messages in the order of sending, and the samples that a reader can get out of them."""

    began_at_s: float
    """Unix time of the first sample."""
    messages: list[tuple[float, bytes]] = field(default_factory=list)
    """Unix time of the last sample of each, and its bytes."""
    samples: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """(samples, channels), NaN where nothing can be read."""
    refused: int = 0
    """Messages that cannot be read."""

    def window(self, number: int) -> NDArray[np.float32] | None:
        """What arrived of a window, filled along straight lines; None where too much of it is missing."""
        part = self.samples[number * LENGTH : (number + 1) * LENGTH].copy()
        absent = np.isnan(part)
        if (absent.mean(axis=0) > MOST_MISSING).any():
            return None
        at = np.arange(len(part))
        for channel, gaps in enumerate(absent.T):
            part[gaps, channel] = np.interp(at[gaps], at[~gaps], part[~gaps, channel])
        return part


def make_stream(name: str, trouble: str, began_at_s: float, seed: int) -> Stream:
    """A stream of one format with one trouble."""
    rng, write = np.random.default_rng(seed), WRITERS[name]
    whole = np.concatenate([make_window(1000 * seed + i) for i in range(WINDOWS + TAIL)])
    times_s = began_at_s + np.arange(len(whole)) / RATE_HZ
    if trouble == "missing":
        troubled = whole[: WINDOWS * LENGTH]
        troubled[rng.random(troubled.shape) < 0.05] = np.nan
    stream = Stream(began_at_s, samples=whole.copy())
    for first in range(0, len(whole), BLOCK):
        part = slice(first, first + BLOCK)
        data = write(whole[part], times_s[part])
        is_hit = first < WINDOWS * LENGTH and rng.random() < 0.1
        if is_hit and trouble in ("length", "encoding"):
            data = _cut(name, data) if trouble == "length" else _in_another_encoding(name, data, whole[part])
            stream.samples[part] = np.nan
            stream.refused += 1
        place = len(stream.messages) - (int(rng.integers(1, 4)) if is_hit and trouble == "late" else 0)
        stream.messages.insert(max(0, place), (float(times_s[part][-1]), data))
    return stream


def _cut(name: str, data: bytes) -> bytes:
    """Without its end; of csv without the last field, as the text without its last digits is a whole one too."""
    return data[: data.rindex(b",")] if name == "csv" else data[:-3]


def _in_another_encoding(name: str, data: bytes, samples: NDArray[np.float32]) -> bytes:
    """Text as UTF-16 where UTF-8 is declared; text where numbers are."""
    if name in TEXTS:
        return data.decode().encode("utf-16")
    return ("values: " + " ".join(f"{value:.3f}" for value in samples.ravel())).encode()
