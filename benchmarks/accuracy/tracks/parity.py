"""Parity: the same net in every format, patched from the same pictures, and re-estimation.

All taps, prior 0, no gate: what is compared is the method, not the decision. A row per format and case; the float
model with live BatchNorm gives the rows of the oracles.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.accuracy.comparison import predicted, seen_under
from benchmarks.accuracy.datasets import fashion
from benchmarks.accuracy.datasets.alone import alone
from benchmarks.accuracy.drifts.by_name import CAMERA, drifted
from benchmarks.accuracy.drifts.streams import draw
from benchmarks.accuracy.methods import oracles
from benchmarks.accuracy.methods.formats import ONNX_FOLDED, ONNX_INT8, Samples, every_format
from benchmarks.accuracy.methods.sequential import observe as observe_in_turn
from benchmarks.accuracy.methods.weights import same_weights
from benchmarks.accuracy.records import IID, NOTHING, PARITY, Case, Row
from benchmarks.accuracy.tables.parity_tables import IN_TURN, OWN, ROLLS_BACK, WEIGHTS_KEPT
from calibration import INPUT_TAP, ModelFiles, Moments, Patch, TapMoments, Target, open_target
from calibration.patch import correction
from calibration.targets.base import Normalisation

SIZES = (64, 256)
DRIFTS = (
    ("gaussian_noise", 3),
    ("motion_blur", 3),
    ("fog", 3),
    ("contrast", 3),
    (CAMERA + "dark", 5),
    (CAMERA + "haze", 5),
)
"""A noise, a blur, a weather and a digital corruption, two camera drifts; chosen by kind before any was measured."""
IN_TURN_OF = (ONNX_FOLDED, ONNX_INT8)


def plan(seeds: Sequence[int], *, quick: bool = False, goals: bool = False) -> list[Case]:
    """The cases; none where only the goals of the recalibration are asked for."""
    if goals:
        return []
    sizes, drifts = (SIZES[:1], DRIFTS[:2]) if quick else (SIZES, DRIFTS)
    return [
        Case(PARITY, seed, drift, severity, n) for seed in seeds for drift, severity in drifts for n in sizes
    ]


def measure(cases: Sequence[Case], folder: Path) -> Iterator[list[Row]]:
    """The rows of every case; nets are trained into ``folder`` on first use.

    Raises:
        FashionMissing: the pictures are not installed.
    """
    for seed, of_seed in groupby(cases, key=lambda case: case.seed):
        with alone(folder / f"fashion-{seed}.lock"):
            net = fashion.trained_net(seed, folder)
        site = Site(net.eager, every_format(net, fashion.quantized_with(seed)), fashion.load_split(seed))
        for case in of_seed:
            yield site.rows(case)


@dataclass(frozen=True, slots=True)
class Deployed:
    """One format of the net, opened."""

    files: ModelFiles
    target: Target
    baseline: Moments
    """Of the healthy pictures of the site."""
    own: Moments
    """The same taps as the net's BatchNorms say: mean beta and spread gamma, which is what re-estimation restores."""
    healthy: float
    """Accuracy on the healthy test pictures."""


class Site:
    """One net, in every format, and its pictures."""

    def __init__(self, net: nn.Module, formats: Mapping[str, ModelFiles], split: fashion.Split) -> None:
        self._net, self._split = net, split
        self._healthy = fashion.prepare(split.test.pixels)
        healthy = fashion.prepare(split.baseline.pixels)
        self._formats = {name: self._deployed(files, healthy) for name, files in formats.items()}

    def rows(self, case: Case) -> list[Row]:
        """Every format and oracle in one case."""
        live, x = self._reference(case), self._test(case)
        before = self._float(self._net, x)
        nothing = Row(case, NOTHING, self._float(self._net, self._healthy), before, before, "identity")
        rows = [nothing, *(self._oracle(nothing, name, live, x) for name in oracles.ORACLES)]
        for name, one in self._formats.items():
            ways = ["", OWN, *([IN_TURN] if name in IN_TURN_OF and case.n == SIZES[0] else [])]
            before = self._score(one.target, None, x)
            rows += [self._patched(case, name + way, one, live, (x, before)) for way in ways]
        return rows

    def _deployed(self, files: ModelFiles, healthy: Samples) -> Deployed:
        target = open_target(files)
        baseline = target.observe(healthy).moments
        own = own_moments(self._net, baseline)
        return Deployed(files, target, baseline, own, self._score(target, None, self._healthy))

    def _reference(self, case: Case) -> Samples:
        """Pictures of the pool under the drift."""
        rng = _generator(case, "reference", case.n)
        drawn = draw(IID, self._split.pool.labels, case.n, case.severity, 1, rng)
        return fashion.prepare(seen_under(self._split.pool.pixels[drawn.index], [case.drift], drawn, rng))

    def _test(self, case: Case) -> Samples:
        """The test pictures under the drift; the same for references of any size."""
        rng = _generator(case, "test")
        return fashion.prepare(drifted(self._split.test.pixels, case.drift, case.severity, rng))

    def _patched(
        self, case: Case, name: str, one: Deployed, live: Samples, test: tuple[Samples, float]
    ) -> Row:
        """One patch; ``test`` is the drifted test pictures and the unpatched model's score on them."""
        x, before = test
        outputs = one.target.runner()(live)
        began_s = time.monotonic()
        baseline = one.own if name.endswith(OWN) else one.baseline
        patch = all_taps(one.target, baseline, live, is_in_turn=name.endswith(IN_TURN))
        done = one.target.patched(patch)
        seconds = time.monotonic() - began_s
        again = open_target(one.files).runner()(live)
        rolls_back = all(np.array_equal(outputs[key], again[key]) for key in outputs)
        kept = same_weights(one.files, ModelFiles(done.data, done.weights))
        after = self._score(one.target, patch, x)
        detail = {WEIGHTS_KEPT: float(kept), ROLLS_BACK: float(rolls_back)}
        return Row(case, name, one.healthy, before, after, name, True, seconds, detail)

    def _oracle(self, nothing: Row, name: str, live: Samples, x: Samples) -> Row:
        after = self._float(oracles.ORACLES[name](self._net, live), x)
        return Row(nothing.case, name, nothing.healthy, nothing.before, after, name, True)

    def _score(self, target: Target, patch: Patch | None, x: Samples) -> float:
        return float((predicted(target.runner(patch), x) == self._split.test.labels).mean())

    def _float(self, net: nn.Module, x: Samples) -> float:
        return float((oracles.classify(net, x) == self._split.test.labels).mean())


def own_moments(net: nn.Module, measured: Moments) -> Moments:
    """What the BatchNorms of ``net`` take and give on the samples it was trained with, under the names of the taps.

    A linear layer in front of a BatchNorm is a tap too in some formats: then all of them are.
    """
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    names = [name for name in measured if name != INPUT_TAP]
    pairs = []
    for norm in norms:
        statistics = norm.running_mean, norm.running_var
        pairs += [statistics] if len(names) > len(norms) else []
        pairs.append((norm.bias, norm.weight.square()))
    found = {INPUT_TAP: measured[INPUT_TAP]}
    for name, pair in zip(names, pairs, strict=True):
        mean, var = (part.detach().double().numpy() for part in pair if part is not None)
        found[name] = TapMoments(mean, var, measured[name].count)
    return Moments(found)


def all_taps(target: Target, baseline: Moments, x: Samples, *, is_in_turn: bool) -> Patch:
    """Every tap, prior 0; in turn: each measured on all pictures behind corrected layers in the model itself."""
    wanted = Normalisation(baseline)
    seen = observe_in_turn(target, x, wanted) if is_in_turn else target.observe(x, wanted).moments
    taps = {tap.name: correction(seen[tap.name], baseline[tap.name]) for tap in target.taps}
    return Patch(taps, target.sha256, "", "all taps, prior 0", len(x), 0.0)


def _generator(case: Case, purpose: str, n: int = 0) -> np.random.Generator:
    """One for this purpose: a case gives the same pictures whatever ran before it."""
    return np.random.default_rng([case.seed, case.severity, n, *f"{purpose} {case.drift}".encode()])
