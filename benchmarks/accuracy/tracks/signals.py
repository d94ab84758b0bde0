"""Signals: small 1-D nets on BasicMotions (six axes) and MNIST-1D (one channel) under drifts of their sensors.

Float ONNX with folded BatchNorms, labels known. The name of a drift begins with the data set.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmarks.accuracy.comparison import Comparison, Samples, Site, predicted
from benchmarks.accuracy.datasets import signals
from benchmarks.accuracy.datasets.alone import alone
from benchmarks.accuracy.drifts import sensors
from benchmarks.accuracy.drifts.by_name import HEALTHY
from benchmarks.accuracy.drifts.streams import ONE_CLASS
from benchmarks.accuracy.records import GATE, MOMENTS, SIGNALS, Case, Row
from calibration.targets.base import Runner

TRACK = SIGNALS
N = 64
ONE_CLASS_N = {"basic_motions": 18, "mnist_1d": 64}
"""As many windows as the pool has of the rarest class."""
SEVERITY = 5
SEPARATOR = ": "


def plan(seeds: Sequence[int], *, quick: bool = False, goals: bool = False) -> list[Case]:
    """The cases, those of one net side by side; none for the table of ``goals``, which is about pictures."""
    found: list[Case] = []
    if goals:
        return found
    for seed in seeds:
        for name in signals.DATASETS:
            drifts = sensors.CURABLE[:1] if quick else sensors.DRIFTS
            found.append(Case(TRACK, seed, f"{name}{SEPARATOR}{HEALTHY}", 0, N))
            found.append(Case(TRACK, seed, f"{name}{SEPARATOR}{HEALTHY}", 0, ONE_CLASS_N[name], ONE_CLASS))
            found += [Case(TRACK, seed, f"{name}{SEPARATOR}{drift}", SEVERITY, N) for drift in drifts]
    return found


def measure(cases: Sequence[Case], folder: Path) -> Iterator[list[Row]]:
    """The rows of every case; nets are trained into ``folder`` on first use.

    Raises:
        SignalsMissing: a package with signals is not installed.
    """
    for (seed, name), of_net in groupby(cases, key=lambda case: (case.seed, split_name(case.drift)[0])):
        comparison = Comparison(site(name, seed, folder))
        for case in of_net:
            yield comparison.rows(case, (GATE, MOMENTS))


def split_name(drift: str) -> tuple[str, str]:
    """Data set and drift of a case."""
    name, _, own = drift.partition(SEPARATOR)
    return name, own


def site(name: str, seed: int, folder: Path) -> Site:
    """The net of one data set and seed, and its windows."""
    with alone(folder / f"{name}-{seed}.lock"):
        model = signals.trained_net(name, seed, folder)
    split = signals.DATASETS[name](seed)

    def score(runner: Runner, x: Samples) -> float:
        return float((predicted(runner, x) == split.test.y).mean())

    def drifted(x: Samples, drift: str, severity: int, rng: np.random.Generator) -> Samples:
        return sensors.drifted(x, split_name(drift)[1], severity, rng)

    return Site(
        model=model,
        baseline=split.baseline.x,
        pool=split.pool.x,
        pool_labels=split.pool.y,
        test=split.test.x,
        prepare=_as_they_are,
        score=score,
        drifted=drifted,
    )


def _as_they_are(x: Samples) -> Samples:
    return x
