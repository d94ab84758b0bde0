"""Track C as cases of the common evaluation: an int8 pedestrian detector on street video under camera drifts.

The score is F1 at IoU 0.5 against the boxes of the undrifted run. Video and model are in ``street_video`` and
``pedestrian_model``; ``track_c`` is the command for a closer look.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

import calibration
from benchmarks import track_c
from benchmarks.accuracy.comparison import Comparison, Samples, Site
from benchmarks.accuracy.datasets import street_video
from benchmarks.accuracy.datasets.alone import alone
from benchmarks.accuracy.datasets.pedestrian_model import int8_model
from benchmarks.accuracy.drifts.by_name import CAMERA, HEALTHY
from benchmarks.accuracy.records import CANDIDATE, GATE, Case, Row
from calibration.outputs.detections import Detections
from calibration.outputs.read import Answers, layout_of, read_answers
from calibration.targets.base import Runner

TRACK = "c"
DRIFTS = tuple(CAMERA + name for name in track_c.DRIFTS)
N = 64
SIZES = (16,)
SEVERITY, SEVERE = 3, 5
CLOSER_LOOK = (20,)
"""These seeds also get another size and severity and the true score of every candidate: minutes a case."""
QUICK_DRIFTS = (f"{CAMERA}haze",)


def plan(seeds: Sequence[int], *, quick: bool = False) -> list[Case]:
    """The cases, those that share test pictures side by side."""
    found: list[Case] = []
    for seed in seeds:
        found.append(Case(TRACK, seed, HEALTHY, 0, N))
        for drift in QUICK_DRIFTS if quick else DRIFTS:
            found.append(Case(TRACK, seed, drift, SEVERE, N))
            if seed in CLOSER_LOOK and not quick:
                found += [Case(TRACK, seed, drift, SEVERE, n) for n in SIZES]
                found.append(Case(TRACK, seed, drift, SEVERITY, N))
    return found


def measure(cases: Sequence[Case], folder: Path) -> Iterator[list[Row]]:
    """The rows of every case; model and video are fetched into ``folder`` on first use.

    Raises:
        VideoMissing: the video is not installed.
    """
    for seed, of_seed in groupby(cases, key=lambda case: case.seed):
        comparison = Comparison(site(seed, folder))
        for case in of_seed:
            yield comparison.rows(case, methods(case))


def methods(case: Case) -> tuple[str, ...]:
    """The gate everywhere; fixed choices at full severity; every candidate for one seed."""
    if case.stream != "iid" or case.n != N or case.severity == SEVERITY:
        return (GATE,)
    candidates = (CANDIDATE,) if case.severity == SEVERE and case.seed in CLOSER_LOOK else ()
    return GATE, "all taps, prior 0", "all taps, prior 0.3", "input", *candidates


def site(seed: int, folder: Path) -> Site:
    """The detector and the parts of the video for one seed."""
    with alone(folder / "ssdlite.lock"):
        video = street_video.find_video(folder)
        model = int8_model(folder, track_c.samples_for_quantization(video))
    street = street_video.load_street(seed, video)
    healthy = calibration.open_target(model).runner()(street_video.prepare(street.test))
    layout = layout_of(healthy)

    def score(runner: Runner, x: Samples) -> float:
        return track_c.hard_f1(_detections(read_answers(runner(x), layout)), truth)

    truth = _detections(read_answers(healthy, layout))
    return Site(
        model=model,
        baseline=street.baseline,
        pool=street.reference,
        pool_labels=np.zeros(len(street.reference), np.int64),
        test=street.test,
        prepare=street_video.prepare,
        score=score,
    )


def _detections(answers: Answers) -> Detections:
    assert isinstance(answers, Detections), "Track C's model is a detector"
    return answers
