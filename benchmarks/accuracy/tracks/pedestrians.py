"""An int8 pedestrian detector (SSDLite, OpenVINO) on street video under camera drifts.

The boxes (score >= 0.5) that the same model finds in the undrifted test frames are the truth. The score is F1 at IoU
0.5: the usual hard one, not the soft one of the gate. Video and model are in ``datasets``.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

import calibration
from benchmarks.accuracy.comparison import Comparison, Samples, Site
from benchmarks.accuracy.datasets import street_video
from benchmarks.accuracy.datasets.alone import alone
from benchmarks.accuracy.datasets.pedestrian_model import int8_model
from benchmarks.accuracy.drifts.by_name import CAMERA, HEALTHY, TUNED_ON
from benchmarks.accuracy.records import CANDIDATE, GATE, MOMENTS, PEDESTRIANS, Case, Row
from calibration.outputs.detections import Detections, overlaps
from calibration.outputs.read import Answers, layout_of, read_answers
from calibration.targets.base import Runner

TRACK = PEDESTRIANS
N = 64
SCORE, IOU = 0.5, 0.5
SIZES = (16,)
SEVERITY, SEVERE = 3, 5
CLOSER_LOOK = (50,)
"""These seeds also get another size and severity and the true score of every candidate: minutes a case."""
QUICK_DRIFTS = (f"{CAMERA}haze",)


def plan(seeds: Sequence[int], *, quick: bool = False, goals: bool = False) -> list[Case]:
    """The cases, those that share test pictures side by side; ``goals``: no more than the goals ask for."""
    found: list[Case] = []
    for seed in seeds:
        found.append(Case(TRACK, seed, HEALTHY, 0, N))
        for drift in QUICK_DRIFTS if quick else TUNED_ON:
            found.append(Case(TRACK, seed, drift, SEVERE, N))
            if seed in CLOSER_LOOK and not quick and not goals:
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
    return GATE, MOMENTS, "all taps, prior 0", "input", *candidates


def site(seed: int, folder: Path) -> Site:
    """The detector and the parts of the video for one seed."""
    with alone(folder / "ssdlite.lock"):
        video = street_video.find_video(folder)
        model = int8_model(folder, street_video.samples_for_quantization(video))
    street = street_video.load_street(seed, video)
    healthy = calibration.open_target(model).runner()(street_video.prepare(street.test))
    layout = layout_of(healthy)

    def score(runner: Runner, x: Samples) -> float:
        return hard_f1(_detections(read_answers(runner(x), layout)), truth)

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


def hard_f1(found: Detections, truth: Detections) -> float:
    """F1 over all frames: detections that match a true box of their class, each true box once, best score first."""
    hits = total = 0
    for i in range(len(truth)):
        mine = np.flatnonzero(found.scores[i] >= SCORE)
        real = np.flatnonzero(truth.scores[i] >= SCORE)
        total += len(mine) + len(real)
        likeness = overlaps(found.boxes[i, mine], truth.boxes[i, real])
        likeness[found.classes[i, mine][:, None] != truth.classes[i, real][None]] = 0
        for row in likeness:
            if len(real) and row.max() >= IOU:
                hits += 1
                likeness[:, row.argmax()] = 0
    return 2 * hits / total if total else 1.0


def _detections(answers: Answers) -> Detections:
    assert isinstance(answers, Detections), "the model is a detector"
    return answers
