"""One case, every method, one test: what all tracks share.

A track brings a :class:`Site` (model, pictures, how to score) and the cases; the methods and the order of steps are
here.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import calibration
from benchmarks.accuracy.drifts.by_name import drifted
from benchmarks.accuracy.drifts.streams import Reference, draw
from benchmarks.accuracy.methods.candidates import tried_candidates
from benchmarks.accuracy.methods.fixed import FIXED
from benchmarks.accuracy.records import CANDIDATE, GATE, MOMENTS, NOTHING, Case, Row
from calibration.search.distillation import DistillationSettings
from calibration.targets.base import Runner
from calibration.targets.open import Model

Pixels = NDArray[Any]
"""Pictures as a camera gives them, uint8, or windows of a signal, float32 (N, C, T)."""
Drifted = Callable[[Any, str, int, np.random.Generator], Any]
Samples = NDArray[np.float32]
Score = Callable[[Runner, Samples], float]
Oracle = Callable[[Samples], "FloatModel"]
FloatModel = Callable[[Samples], float]

GATED_OFF = tuple(FIXED)
SEARCHES = (GATE, MOMENTS)
"""The library's own recalibration, with and without distilled candidates."""
NO_DISTILLATION = DistillationSettings(steps=0)


@dataclass(frozen=True, slots=True)
class Site:
    """A deployed model and the pictures of its camera; baseline, pool and test share none."""

    model: Model
    baseline: Pixels
    """uint8 (B,H,W,C), healthy."""
    pool: Pixels
    """uint8 (P,H,W,C): what the camera sees later; references are drawn from it."""
    pool_labels: NDArray[np.int64]
    """(P,) classes, for class-skewed streams only."""
    test: Pixels
    prepare: Callable[[Pixels], Samples]
    score: Score
    """Accuracy or F1 of a loaded model on the prepared test part, which is always the whole one in order."""
    drifted: Drifted = drifted
    """What a drift of a name and severity makes of ``pixels``."""
    float_model: FloatModel | None = None
    """The same for the float model with live BatchNorm."""
    oracles: Mapping[str, Oracle] = field(default_factory=dict)
    """Ways to re-estimate it from reference samples, by method name."""
    most_healthy_samples: int | None = calibration.Options().most_healthy_samples


class Comparison:
    """Measures cases of one site; test pictures and baselines are made once for several cases."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._target = calibration.open_target(site.model)
        self._baselines: dict[int, calibration.Baseline] = {}
        self._test: tuple[tuple[object, ...], Samples, float] | None = None
        self._float_scores: dict[tuple[object, ...], float] = {}
        self._runner = self._target.runner()
        self._healthy = site.score(self._runner, site.prepare(site.test))

    def rows(self, case: Case, methods: Sequence[str]) -> list[Row]:
        """What each of the methods does in the case; ``none`` is always among them."""
        live = self._live(case)
        x, before = self._test_of(case)
        nothing = Row(case, NOTHING, self._healthy, before, before, "identity")
        rows = [nothing]
        for method in methods:
            if method in SEARCHES:
                rows.append(self._gated(nothing, method, live, x))
            elif method == CANDIDATE:
                rows += self._candidates(nothing, live, x)
            elif method in FIXED:
                rows.append(self._fixed(nothing, method, live, x))
            elif method in self._site.oracles:
                rows.append(self._oracle(nothing, method, live, x))
        return rows

    def _live(self, case: Case) -> Samples:
        """The reference samples of the case; the same for every method."""
        rng = _generator(case, "reference")
        names = case.drift.split("+")
        drawn = draw(case.stream, self._site.pool_labels, case.n, case.severity, len(names), rng)
        return self._site.prepare(self._seen_under(self._site.pool[drawn.index], names, drawn, rng))

    def _seen_under(
        self, pixels: Pixels, names: Sequence[str], drawn: Reference, rng: np.random.Generator
    ) -> Pixels:
        return seen_under(pixels, names, drawn, rng, self._site.drifted)

    def _test_of(self, case: Case) -> tuple[Samples, float]:
        """The drifted test samples and the unpatched model's score on them; all drifts of a case take part."""
        key = _shown(case)
        if self._test is None or self._test[0] != key:
            names = case.drift.split("+")
            rng = _generator(replace(case, n=0, stream="test", baseline=0), "test")
            count = len(self._site.test)
            whole = Reference(
                index=np.arange(count),
                severity=np.full(count, case.severity),
                drift=rng.integers(0, len(names), count),
            )
            x = self._site.prepare(self._seen_under(self._site.test, names, whole, rng))
            self._test = key, x, self._site.score(self._runner, x)
        return self._test[1], self._test[2]

    def _baseline(self, count: int) -> calibration.Baseline:
        if count not in self._baselines:
            pixels = self._site.baseline[: count or None]
            self._baselines[count] = calibration.profile(self._site.model, self._site.prepare(pixels))
        return self._baselines[count]

    def _gated(self, row: Row, method: str, live: Samples, x: Samples) -> Row:
        baseline = self._baseline(row.case.baseline)
        options = self._options(row, method)
        verdict = calibration.recalibrate(self._site.model, baseline, live, options=options)
        after = row.before
        if verdict.patch is not None:
            after = self._site.score(self._target.runner(verdict.patch), x)
        return replace(
            row,
            method=method,
            after=after,
            chosen=verdict.candidate,
            accepted=verdict.accepted,
            seconds=verdict.seconds,
        )

    def _fixed(self, row: Row, method: str, live: Samples, x: Samples) -> Row:
        began_s = time.monotonic()
        patch = FIXED[method](self._target, self._baseline(row.case.baseline), live)
        runner = self._target.runner(patch)
        seconds = time.monotonic() - began_s
        after = self._site.score(runner, x)
        return replace(row, method=method, after=after, chosen=method, accepted=True, seconds=seconds)

    def _oracle(self, row: Row, method: str, live: Samples, x: Samples) -> Row:
        began_s = time.monotonic()
        model = self._site.oracles[method](live)
        seconds = time.monotonic() - began_s
        healthy = self._float_score((), lambda: self._site.prepare(self._site.test))
        before = self._float_score(_shown(row.case), lambda: x)
        row = replace(row, method=method, healthy=healthy, before=before, after=model(x))
        return replace(row, chosen=method, accepted=True, seconds=seconds)

    def _float_score(self, key: tuple[object, ...], make: Callable[[], Samples]) -> float:
        """The float model as it is, on the test part as ``key`` says; measured once."""
        assert self._site.float_model is not None
        if key not in self._float_scores:
            self._float_scores[key] = self._site.float_model(make())
        return self._float_scores[key]

    def _candidates(self, row: Row, live: Samples, x: Samples) -> list[Row]:
        """Every candidate with its true score: what the gate would have to know."""
        baseline = self._baseline(row.case.baseline)
        found = tried_candidates(self._target, baseline, live, self._options(row, CANDIDATE))
        return [
            replace(
                row,
                method=CANDIDATE,
                after=self._site.score(self._target.runner(one.patch), x),
                chosen=one.patch.candidate,
                accepted=one.is_chosen,
                detail={"accepted_alone": float(one.is_accepted_alone), **one.scores},
            )
            for one in found
        ]

    def _options(self, row: Row, method: str) -> calibration.Options:
        options = calibration.Options(
            seed=row.case.seed, most_healthy_samples=self._site.most_healthy_samples
        )
        return replace(options, distillation=NO_DISTILLATION) if method == MOMENTS else options


def predicted(runner: Runner, x: Samples) -> NDArray[np.int64]:
    """(N,) classes of a model with one output of class scores."""
    [scores] = runner(x).values()
    return np.asarray(scores.argmax(axis=1), np.int64)


def seen_under(
    pixels: Pixels,
    names: Sequence[str],
    drawn: Reference,
    rng: np.random.Generator,
    drifted: Drifted = drifted,
) -> Pixels:
    """The pictures, each under its own drift and severity."""
    out = pixels.copy()
    for which, severity in sorted({*zip(drawn.drift.tolist(), drawn.severity.tolist(), strict=True)}):
        chosen = (drawn.drift == which) & (drawn.severity == severity)
        out[chosen] = drifted(pixels[chosen], names[which], severity, rng)
    return out


def _shown(case: Case) -> tuple[object, ...]:
    """What decides how the test part looks."""
    return case.seed, case.drift, case.severity


def _generator(case: Case, purpose: str) -> np.random.Generator:
    """One for this case and purpose: a case gives the same pictures whatever ran before it."""
    words = f"{purpose} {case.drift} {case.stream}".encode()
    return np.random.default_rng([case.seed, case.severity, case.n, *words])
