"""EfficientNet-Lite0 int8, or another model for its pictures, on labelled cut-outs under camera drifts.

The pictures and their split are in ``datasets.cutouts``.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmarks.accuracy.comparison import Comparison, Samples, Site, predicted
from benchmarks.accuracy.datasets import cutouts
from benchmarks.accuracy.drifts.by_name import CAMERA, HEALTHY, TUNED_ON
from benchmarks.accuracy.records import CANDIDATE, GATE, PHOTO_CUTOUTS, Case, Row
from calibration.targets.base import Runner

TRACK = PHOTO_CUTOUTS
MODEL = Path(__file__).parents[3] / "edge_runtime/sources/demo/bundle/efficientnet-lite0/1/model.onnx"
N = 128
SIZES = (16, 64)
"""Beside 128."""
SORTED_N = 64
SEVERITY, SEVERE = 3, 5
CLOSER_LOOK = (20, 21)
"""These seeds also get other sizes, streams and severities, and the true score of every candidate: minutes a case."""
NEW_OBJECTS = "new-objects"
"""The stream whose reference shows objects that the baseline has never seen."""
QUICK_DRIFTS = (f"{CAMERA}haze",)


def plan(seeds: Sequence[int], *, quick: bool = False) -> list[Case]:
    """The cases, those that share test pictures side by side."""
    found: list[Case] = []
    for seed in seeds:
        found.append(Case(TRACK, seed, HEALTHY, 0, N))
        for drift in QUICK_DRIFTS if quick else TUNED_ON:
            found.append(Case(TRACK, seed, drift, SEVERE, N))
            if seed in CLOSER_LOOK and not quick:
                found += [Case(TRACK, seed, drift, SEVERE, n) for n in SIZES]
                found.append(Case(TRACK, seed, drift, SEVERE, SORTED_N, "class-sorted"))
                found.append(Case(TRACK, seed, drift, SEVERITY, N))
    if not quick:
        found += [
            Case(TRACK, seed, drift, SEVERE, SORTED_N, NEW_OBJECTS)
            for seed in CLOSER_LOOK
            for drift in TUNED_ON
        ]
    return found


def measure(cases: Sequence[Case], folder: Path, model: Path = MODEL) -> Iterator[list[Row]]:  # noqa: ARG001 - nothing to keep there
    """The rows of every case.

    Args:
        cases: Those of one seed and stream should follow each other.
        folder: Not used; other tracks keep their models there.
        model: An ONNX file with input (N,3,224,224), RGB, (x - 127) / 128, and 1000 ImageNet classes.

    Raises:
        PicturesMissing: the cut-outs are not installed.
    """
    for (seed, is_new), of_seed in groupby(cases, key=lambda case: (case.seed, case.stream == NEW_OBJECTS)):
        comparison = Comparison(site(seed, model, new_objects=is_new))
        for case in of_seed:
            yield comparison.rows(case, methods(case))


def methods(case: Case) -> tuple[str, ...]:
    """The gate everywhere; fixed choices at full severity; every candidate for two seeds."""
    if case.stream != "iid" or case.n != N or case.severity == SEVERITY:
        return (GATE,)
    candidates = (CANDIDATE,) if case.severity == SEVERE and case.seed in CLOSER_LOOK else ()
    return GATE, "all taps, prior 0", "all taps, prior 0.3", "input", *candidates


@cache
def site(seed: int, model: Path = MODEL, *, new_objects: bool = False) -> Site:
    """The model and the composites of one seed."""
    split = cutouts.load_split(seed, new_objects=new_objects)

    def score(runner: Runner, x: Samples) -> float:
        return split.test.accuracy(predicted(runner, x))

    return Site(
        model=model.read_bytes(),
        baseline=split.baseline.pixels,
        pool=split.reference.pixels,
        pool_labels=np.array([min(classes, default=-1) for classes in split.reference.accepted]),
        test=split.test.pixels,
        prepare=cutouts.prepare,
        score=score,
    )
