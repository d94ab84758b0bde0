"""Fashion-MNIST with a small BatchNorm net in int8, and its float self as the oracle.

Cheap enough for the whole matrix: corruptions and camera drifts, severities, reference sizes, streams, seeds.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.comparison import GATED_OFF, Comparison, Samples, Site, predicted
from benchmarks.accuracy.datasets import fashion
from benchmarks.accuracy.datasets.alone import alone
from benchmarks.accuracy.drifts.by_name import BOTH, CAMERA, CAMERA_DRIFTS, CORRUPTION_DRIFTS, HEALTHY
from benchmarks.accuracy.drifts.streams import CLASS_SORTED, MIXED, OVERLAPPING, TWO_CLASS
from benchmarks.accuracy.methods import float_net, oracles, tent
from benchmarks.accuracy.records import (
    CANDIDATE,
    FASHION_MNIST,
    GATE,
    MOMENTS,
    TENT,
    TENT_LONG,
    TENT_STILL,
    Case,
    Row,
)
from calibration.targets.base import Runner

TRACK = FASHION_MNIST
N = 64
SIZES = (8, 16, 32, 64, 128, 256, 512)
"""For the first seed; the others do without what says little about the gate."""
GOAL_SIZES = (16, 64)
SEVERITY, SEVERE = 3, 5
SMALL_BASELINE = 128
SKEWED = (CLASS_SORTED, TWO_CLASS)
QUICK_DRIFTS = ("gaussian_noise", "fog", "contrast")

_REFERENCE_FREE = ("all taps, prior 0", "float, fvcore")


def plan(seeds: Sequence[int], *, quick: bool = False, goals: bool = False) -> list[Case]:
    """The cases, those that share test pictures side by side; ``goals``: no more than the goals ask for."""
    found: list[Case] = []
    for position, seed in enumerate(seeds):
        found += [Case(TRACK, seed, HEALTHY, 0, n, stream) for n in (16, N) for stream in ("iid", *SKEWED)]
        if quick:
            found += [Case(TRACK, seed, drift, SEVERITY, n) for drift in QUICK_DRIFTS for n in (16, N)]
            found += [Case(TRACK, seed, QUICK_DRIFTS[0], SEVERITY, N, stream) for stream in SKEWED]
            continue
        is_closer = not position and not goals
        for drift in CORRUPTION_DRIFTS:
            found += [Case(TRACK, seed, drift, SEVERITY, n) for n in (SIZES if is_closer else GOAL_SIZES)]
            found += [Case(TRACK, seed, drift, SEVERITY, N, stream) for stream in SKEWED]
            if is_closer:
                found.append(Case(TRACK, seed, drift, SEVERE, N))
        if not is_closer:
            continue
        found += [Case(TRACK, seed, drift, SEVERE, N) for drift in CAMERA_DRIFTS]
        found += [Case(TRACK, seed, drift, SEVERITY, N, "gradual") for drift in CORRUPTION_DRIFTS]
        found += [Case(TRACK, seed, d, SEVERITY, N, baseline=SMALL_BASELINE) for d in CORRUPTION_DRIFTS]
        found += [Case(TRACK, seed, drift, SEVERITY, N) for drift in CAMERA_DRIFTS]
        pairs = pairwise((*CORRUPTION_DRIFTS, CORRUPTION_DRIFTS[0]))
        for one, two in pairs:
            found.append(Case(TRACK, seed, f"{one}+{two}", SEVERITY, N, MIXED))
            found.append(Case(TRACK, seed, f"{one}{BOTH}{two}", SEVERITY, N, OVERLAPPING))
    return found


def measure(cases: Sequence[Case], folder: Path) -> Iterator[list[Row]]:
    """The rows of every case; nets are trained into ``folder`` on first use.

    Raises:
        FashionMissing: the pictures are not installed.
    """
    for seed, of_seed in groupby(cases, key=lambda case: case.seed):
        comparison = Comparison(site(seed, folder))
        for case in of_seed:
            yield comparison.rows(case, methods(case))


def methods(case: Case) -> tuple[str, ...]:
    """All of them in the main setting; the cheap essentials for the rest of the matrix."""
    if case.stream != "iid" or case.baseline:
        return GATE, "all taps, prior 0"
    if case.drift == HEALTHY:
        return GATE, MOMENTS, *_REFERENCE_FREE, TENT
    if case.n != N or case.severity != SEVERITY or case.drift.startswith(CAMERA):
        return GATE, MOMENTS, *_REFERENCE_FREE
    return GATE, MOMENTS, *GATED_OFF, *oracles.ORACLES, TENT, TENT_LONG, TENT_STILL, CANDIDATE


def site(seed: int, folder: Path) -> Site:
    """The net of one seed and its pictures."""
    with alone(folder / f"fashion-{seed}.lock"):
        net = fashion.trained_net(seed, folder)
    split = fashion.load_split(seed)
    labels = split.test.labels

    def score(runner: Runner, x: Samples) -> float:
        return judge(predicted(runner, x))

    def judge(classes: NDArray[np.int64]) -> float:
        return float((classes == labels).mean())

    return Site(
        model=net.int8,
        baseline=split.baseline.pixels,
        pool=split.pool.pixels,
        pool_labels=np.asarray(split.pool.labels),
        test=split.test.pixels,
        prepare=fashion.prepare,
        score=score,
        float_model=float_net.float_model(lambda: net.eager, judge),
        oracles=float_net.float_methods(lambda: net.eager, judge, tent.SMALL),
    )
