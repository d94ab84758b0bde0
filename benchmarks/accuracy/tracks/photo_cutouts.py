"""EfficientNet-Lite0 int8, or another model for its pictures, on labelled cut-outs under camera drifts.

The pictures and their split are in ``datasets.cutouts``.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.comparison import Comparison, Samples, Site, predicted
from benchmarks.accuracy.datasets import cutouts
from benchmarks.accuracy.drifts.by_name import BOTH, CAMERA, HEALTHY, TUNED_ON
from benchmarks.accuracy.drifts.streams import CLASS_SORTED, MIXED, NEW_OBJECTS, OVERLAPPING, TWO_CLASS
from benchmarks.accuracy.records import (
    CANDIDATE,
    GATE,
    IID,
    MOMENTS,
    PHOTO_CUTOUTS,
    TENT,
    TENT_LONG,
    TENT_STILL,
    ZEROTH_ORDER,
    Case,
    Row,
)
from calibration.targets.base import Runner

TRACK = PHOTO_CUTOUTS
MODEL = Path(__file__).parents[3] / "edge_runtime/sources/demo/bundle/efficientnet-lite0/1/model.onnx"
N = 128
SIZES = (8, 16, 219)
"""In addition to 64 and 128; 219 is the whole pool."""
SKEWED_N = 64
SEVERITY, SEVERE = 3, 5
SKEWED_SEEDS = (50,)
"""Their references also come class by class, of two classes, and as usual: what the goals about streams ask for."""
CLOSER_LOOK = (50,)
"""This seed also gets other sizes, streams and severities, and the long runs of TENT: half a minute a case."""
QUICK_DRIFTS = (f"{CAMERA}haze",)
PAIRS = tuple(zip(TUNED_ON[::2], TUNED_ON[1::2], strict=True))
"""Drifts that come together: contrast and bright, dark and noise, blur and tint, haze and grey."""

_OWN_POOL = (TWO_CLASS, NEW_OBJECTS)
"""Streams whose references show other pictures than those of the site."""
_PLAIN = ("all taps, prior 0", "input")
_FLOAT = ("float, fvcore", TENT)


def plan(seeds: Sequence[int], *, quick: bool = False, goals: bool = False) -> list[Case]:
    """The cases, those that share test pictures side by side; ``goals``: no more than the goals ask for."""
    found: list[Case] = []
    for seed in seeds:
        found.append(Case(TRACK, seed, HEALTHY, 0, N))
        for drift in QUICK_DRIFTS if quick else TUNED_ON:
            found.append(Case(TRACK, seed, drift, SEVERE, N))
            if seed in SKEWED_SEEDS and not quick:
                found += [Case(TRACK, seed, drift, SEVERE, SKEWED_N, s) for s in (IID, CLASS_SORTED)]
            if seed in CLOSER_LOOK and not quick and not goals:
                found += [Case(TRACK, seed, drift, SEVERE, n) for n in SIZES]
                found.append(Case(TRACK, seed, drift, SEVERITY, N))
        if quick:
            continue
        if seed in SKEWED_SEEDS:
            found += [Case(TRACK, seed, drift, SEVERE, SKEWED_N, TWO_CLASS) for drift in TUNED_ON]
        if seed in CLOSER_LOOK and not goals:
            found += [Case(TRACK, seed, drift, SEVERE, SKEWED_N, NEW_OBJECTS) for drift in TUNED_ON]
            found += [Case(TRACK, seed, "+".join(pair), SEVERE, N, MIXED) for pair in PAIRS]
            found += [Case(TRACK, seed, BOTH.join(pair), SEVERITY, N, OVERLAPPING) for pair in PAIRS]
    return found


def measure(cases: Sequence[Case], folder: Path, model: Path = MODEL) -> Iterator[list[Row]]:  # noqa: ARG001 - nothing to keep there
    """The rows of every case.

    Args:
        cases: Those of one seed and stream should follow each other.
        folder: Not used; other tracks keep their models there.
        model: An ONNX file with input (N,3,224,224), RGB, (x - 127) / 128, and 1000 ImageNet classes.

    Raises:
        NotInstalled: the cut-outs are not there, or the float net that is compared with.
    """
    from benchmarks.accuracy.datasets import lite0  # torch

    is_other = model != MODEL
    if not is_other and cases:
        lite0.float_net()  # a missing package shows now, not behind the first gate
    for (seed, stream), of_seed in groupby(cases, key=lambda case: (case.seed, _pool_of(case.stream))):
        comparison = Comparison(site(seed, model, stream))
        for case in of_seed:
            wanted = [m for m in methods(case) if not (is_other and m.startswith("float"))]
            yield comparison.rows(case, wanted)


def methods(case: Case) -> tuple[str, ...]:
    """The gate everywhere; in the main setting what it replaces, and everything for the seeds of the closer look."""
    if case.stream != IID or case.n != N or case.severity == SEVERITY:
        return (GATE,)
    if case.seed not in CLOSER_LOOK:
        return (GATE, MOMENTS)
    if case.drift == HEALTHY:
        return (GATE, MOMENTS, *_PLAIN, *_FLOAT)
    return (
        GATE,
        MOMENTS,
        *_PLAIN,
        "all taps, prior 0.3",
        ZEROTH_ORDER,
        *_FLOAT,
        TENT_LONG,
        TENT_STILL,
        CANDIDATE,
    )


@lru_cache(maxsize=2)
def site(seed: int, model: Path = MODEL, stream: str = IID) -> Site:
    """The model and the composites of one seed; two streams have pools that are not what the site shows."""
    from benchmarks.accuracy.datasets import lite0  # torch
    from benchmarks.accuracy.methods import float_net, tent

    split = cutouts.load_split(seed, new_objects=stream == NEW_OBJECTS)
    pool = cutouts.two_kinds(seed) if stream == TWO_CLASS else split.reference

    def score(runner: Runner, x: Samples) -> float:
        return judge(predicted(runner, x))

    def judge(classes: NDArray[np.int64]) -> float:
        return split.test.accuracy(classes)

    return Site(
        model=model.read_bytes(),
        baseline=split.baseline.pixels,
        pool=pool.pixels,
        pool_labels=np.array([min(classes, default=-1) for classes in pool.accepted]),
        test=split.test.pixels,
        prepare=cutouts.prepare,
        score=score,
        float_model=float_net.float_model(lite0.float_net, judge),
        oracles=float_net.float_methods(lite0.float_net, judge, tent.LARGE),
    )


def _pool_of(stream: str) -> str:
    return stream if stream in _OWN_POOL else IID
