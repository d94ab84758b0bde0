"""Track B as cases of the common evaluation: EfficientNet-Lite0 int8 on labelled cut-outs under camera drifts.

The pictures and their split are in ``cutouts``; ``track_b`` is the command for a closer look at one model.
Called by ``bench_calibration``.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmarks import cutouts
from benchmarks.comparison import Comparison, Samples, Site, predicted
from benchmarks.drifts import CAMERA, HEALTHY
from benchmarks.records import CANDIDATE, GATE, Case, Row
from benchmarks.track_b import TUNED_ON
from calibration.targets.base import Runner

TRACK = "b"
MODEL = Path(__file__).parents[1] / "edge_runtime/demo/bundle/efficientnet-lite0/1/model.onnx"
DRIFTS = tuple(CAMERA + name for name in TUNED_ON)
N = 64
SIZES = (16, 96)
"""Beside 64; 96 is the whole pool."""
SORTED_N = 32
SEVERITY, SEVERE = 3, 5
CLOSER_LOOK = 2
"""So many seeds also get other sizes and streams, and the true score of every candidate: minutes a case."""
QUICK_DRIFTS = (f"{CAMERA}haze",)


def plan(seeds: Sequence[int], *, quick: bool = False) -> list[Case]:
    """The cases, those that share test pictures side by side."""
    found: list[Case] = []
    for position, seed in enumerate(seeds):
        found.append(Case(TRACK, seed, HEALTHY, 0, N))
        for drift in QUICK_DRIFTS if quick else DRIFTS:
            found.append(Case(TRACK, seed, drift, SEVERE, N))
            if quick:
                continue
            if position < CLOSER_LOOK:
                found += [Case(TRACK, seed, drift, SEVERE, n) for n in SIZES]
                found.append(Case(TRACK, seed, drift, SEVERE, SORTED_N, "class-sorted"))
                found.append(Case(TRACK, seed, drift, SEVERE, N, "gradual"))
            found.append(Case(TRACK, seed, drift, SEVERITY, N))
    return found


def measure(cases: Sequence[Case], folder: Path) -> Iterator[list[Row]]:  # noqa: ARG001 - nothing to keep there
    """The rows of every case.

    Raises:
        PicturesMissing: the cut-outs are not installed.
    """
    for seed, of_seed in groupby(cases, key=lambda case: case.seed):
        comparison = Comparison(site(seed))
        for case in of_seed:
            yield comparison.rows(case, methods(case))


def methods(case: Case) -> tuple[str, ...]:
    """The gate everywhere; fixed choices at full severity; every candidate for the first seeds."""
    if case.stream != "iid" or case.n != N or case.severity == SEVERITY:
        return (GATE,)
    candidates = (CANDIDATE,) if case.severity == SEVERE and case.seed < CLOSER_LOOK else ()
    return GATE, "all taps, prior 0", "all taps, prior 0.3", "input", *candidates


@cache
def site(seed: int) -> Site:
    """The demo's model and the composites of one seed."""
    split = cutouts.load_split(seed)

    def score(runner: Runner, x: Samples) -> float:
        return split.test.accuracy(predicted(runner, x))

    return Site(
        model=MODEL.read_bytes(),
        baseline=split.baseline.pixels,
        pool=split.reference.pixels,
        pool_labels=np.array([min(classes) for classes in split.reference.accepted]),
        test=split.test.pixels,
        prepare=cutouts.prepare,
        score=score,
    )
