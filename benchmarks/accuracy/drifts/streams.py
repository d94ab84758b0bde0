"""How reference pictures follow each other: which ones a camera happened to see, and how far the drift had come.

Pure policies over labels; names as in RobustBench-style harnesses.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]

CLASS_SORTED, TWO_CLASS, NEW_OBJECTS = "class-sorted", "2-class", "new-objects"
ONE_CLASS = "1-class"
MIXED, OVERLAPPING = "mixed", "overlapping"
STREAMS = ("iid", CLASS_SORTED, TWO_CLASS, ONE_CLASS, MIXED, "gradual", OVERLAPPING, NEW_OBJECTS)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the reference set consists of."""

    index: NDArray[np.intp]
    """(n,) positions in the pool, in the order seen."""
    severity: NDArray[np.int64]
    """(n,) severity of each, 0 to the case's."""
    drift: NDArray[np.int64]
    """(n,) which of the case's drifts each is under."""


def draw(
    stream: str, labels: Labels, n: int, severity: int, drifts: int, rng: np.random.Generator
) -> Reference:
    """A reference of ``n`` pictures.

    ``iid``: any. ``class-sorted``: a contiguous run of the pool in class order, from a random place. ``2-class``: of
    two random classes only; ``1-class``: of one.
    ``mixed``: the drifts take turns at random. ``gradual``: the severity grows from 0 to the
    full one. ``overlapping``: any, each under several drifts (the case names them). ``new-objects``: any, from a pool
    whose objects the baseline has never seen (the track brings it).

    Raises:
        ValueError: unknown stream, or the pool is too small for it.
    """
    if stream not in STREAMS:
        raise ValueError(f"unknown stream {stream!r}; expected one of: {', '.join(STREAMS)}")
    index = _chosen(stream, labels, n, rng)
    if len(index) < n:
        raise ValueError(f"the pool has {len(index)} pictures for a {stream} reference of {n}")
    full = np.full(n, severity, np.int64)
    ramp = np.rint(np.linspace(0, severity, n)).astype(np.int64)
    return Reference(
        index=index,
        severity=ramp if stream == "gradual" else full,
        drift=rng.integers(0, drifts, n) if stream == MIXED else np.zeros(n, np.int64),
    )


def _chosen(stream: str, labels: Labels, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    order = rng.permutation(len(labels))
    if stream == CLASS_SORTED:
        by_class = order[np.argsort(labels[order], kind="stable")]
        first = int(rng.integers(0, max(1, len(labels) - n + 1)))
        return by_class[first : first + n]
    if stream == TWO_CLASS:
        pair = rng.choice(np.unique(labels), 2, replace=False)
        order = order[np.isin(labels[order], pair)]
    if stream == ONE_CLASS:
        order = order[labels[order] == rng.choice(labels)]
    return order[:n]
