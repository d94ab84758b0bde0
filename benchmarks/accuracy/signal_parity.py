"""Nets on signals in every format: patched, and re-estimated in torch from the same samples.

    python -m benchmarks run signal-parity [--seeds 50,51] [--docs docs/results]

Prior 0 and no gate, as in the parity of pictures: what is compared is the method, not the decision. Takes about two
minutes a seed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn

from benchmarks.accuracy.comparison import predicted
from benchmarks.accuracy.datasets import three_channel_signals as signals
from benchmarks.accuracy.datasets.export import to_onnx
from benchmarks.accuracy.datasets.three_channel_signals import Part, Samples, SignalNet
from benchmarks.accuracy.methods import oracles
from benchmarks.accuracy.methods.formats import Exported, convert
from benchmarks.accuracy.methods.weights import same_weights
from benchmarks.accuracy.records import NotInstalled
from benchmarks.accuracy.tables.figures import grouped
from benchmarks.accuracy.tables.markdown import table
from benchmarks.accuracy.tables.parity_tables import exact_points
from benchmarks.accuracy.tracks.parity import all_taps, own_moments
from calibration import INPUT_TAP, Moments, Patch, Target, open_target
from calibration.patch import Affine, correction
from calibration.stats.moments import moments_of_frames
from calibration.targets.base import Normalisation
from edge_runtime.bundles.build.quantize_onnx import fold_batch_norm, quantize_onnx

REFERENCE = 256
QUANTIZED_WITH = 200
ALLOWED, ALLOWED_POINTS = 1e-3, 0.5

PAGE = "signal-parity.md"
READING = f"""\
Signals of three channels (MNIST-1D) through small nets, in every format. Each model is patched from the same
{REFERENCE} drifted samples, prior 0, no gate, and is compared on the same 2,000 drifted test samples with the float net
whose BatchNorms were re-estimated from those samples in torch (fvcore, one batch). All are *points*, patched minus
re-estimated accuracy, mean and lowest over drifts and seeds, but for *answers*: the largest difference of an answer, of
the largest answer.

- *Own, layers*: the baseline is what training left in the BatchNorms, and every layer is set back to it. In float that
  is re-estimation itself, but for rounding. An int8 model also cuts what lies outside of the range that its input was
  quantized for: a higher gain costs it what no layer can give back.
- *Own, input and layers*: the input is brought into its range first, as the recalibration does; the float net was then
  re-estimated behind the same correction of its input. (For vectors that one costs some accuracy in every format: 120
  features are corrected one by one from {REFERENCE} samples.)
- *Site, input and layers*: the same with 512 healthy samples of the site as the baseline, as deployed.
- *Healthy*: what the format itself costs before any drift. *Weights kept*: bit for bit, in every case; folded float
  models have no other place for a correction."""
OWN, OWN_INPUT, SITE_INPUT = "own, layers", "own, input and layers", "site, input and layers"
WAYS = (OWN, OWN_INPUT, SITE_INPUT)
HEAD = ("format", "cases", "answers", *WAYS, "healthy", "weights kept")


@dataclass(frozen=True, slots=True)
class Found:
    """One format of one net under one drift. Accuracies are 0 to 1."""

    net: str
    format: str
    drift: str
    healthy: float
    """Its accuracy without the drift, minus that of the float net."""
    before: float
    estimated: float
    """Of the re-estimated float net."""
    estimated_behind: float
    """The same behind a corrected input."""
    patched: Mapping[str, float]
    """By one of ``WAYS``."""
    answers: float
    """By ``OWN``: the largest difference of an answer, as a share of the largest one."""
    keeps_weights: bool

    def gap(self, way: str) -> float:
        """Patched minus re-estimated accuracy."""
        return self.patched[way] - (self.estimated if way == OWN else self.estimated_behind)


def measure(seed: int) -> Iterator[Found]:
    """Every net, format and drift of one seed.

    Raises:
        NotInstalled: the signals are missing.
    """
    split = signals.load_split(seed)
    for name, net in signals.trained_nets(split["train"], seed).items():
        yield from measure_net(name, net, split)


def measure_net(name: str, net: SignalNet, split: Mapping[str, Part]) -> Iterator[Found]:
    """Every format and drift of one net."""
    some = net.to_own(net.prepare(split["train"].x[:QUANTIZED_WITH]))
    labels, test = split["test"].labels, net.prepare(split["test"].x)
    healthy = float((oracles.classify(net.eager, net.to_own(test)) == labels).mean())
    for kind, files in convert(_exported(net.eager, some), some).items():
        target = open_target(files)
        baseline = target.observe(net.prepare(split["baseline"].x)).moments
        own = own_moments(net.eager, baseline)
        cost = _score(target, None, test, labels) - healthy
        for drift, change in signals.DRIFTS.items():
            live, x = (net.prepare(change(split[part].x)) for part in ("pool", "test"))
            live = live[:REFERENCE]
            on_input = correct_input(live, baseline)
            wanted = _re_estimated(net, live, x)
            behind = _re_estimated(net, on_input.apply(live), on_input.apply(x))
            patches = {
                OWN: all_taps(target, own, live, is_in_turn=False),
                OWN_INPUT: input_and_taps(target, own, live, on_input),
                SITE_INPUT: input_and_taps(target, baseline, live, on_input),
            }
            [got] = target.runner(patches[OWN])(x).values()
            yield Found(
                name, kind, drift, cost, _score(target, None, x, labels),
                _accuracy(wanted, labels), _accuracy(behind, labels),
                {way: _score(target, patch, x, labels) for way, patch in patches.items()},
                float(np.abs(got - wanted).max() / np.abs(wanted).max()),
                same_weights(files, target.patched(patches[SITE_INPUT]).files),
            )  # fmt: skip


def correct_input(x: Samples, baseline: Moments) -> Affine:
    """What brings the input back to its healthy moments."""
    return correction(moments_of_frames(x).pool(), baseline[INPUT_TAP])


def input_and_taps(target: Target, baseline: Moments, x: Samples, on_input: Affine) -> Patch:
    """The corrected input, and every tap behind it set to the baseline, prior 0."""
    seen = target.observe(x, Normalisation(baseline, input=on_input)).moments
    taps = {tap.name: correction(seen[tap.name], baseline[tap.name]) for tap in target.taps}
    return Patch({INPUT_TAP: on_input, **taps}, target.sha256, "", "input and taps, prior 0", len(x), 0.0)


def report(found: Sequence[Found]) -> str:
    """Two tables a net: the formats, and the accuracies drift by drift."""
    parts = []
    for net, of_net in grouped(found, lambda one: one.net).items():
        lines = [_line(kind, group) for kind, group in grouped(of_net, lambda one: one.format).items()]
        parts.append(f"## {net[0].upper()}{net[1:]}\n\n{table(HEAD, lines)}\n\n{_by_drift(of_net)}")
    return "\n\n".join(parts)


def find_failures(found: Sequence[Found]) -> list[str]:
    """The formats that are further from re-estimation than allowed."""
    failures = []
    for (net, kind), group in grouped(found, lambda one: (one.net, one.format)).items():
        points = 100 * np.mean([one.gap(OWN_INPUT) for one in group])
        if "int8" not in kind and max(one.answers for one in group) > ALLOWED:
            failures.append(f"{net}, {kind}: answers differ by more than {ALLOWED}")
        if points < -ALLOWED_POINTS:
            failures.append(f"{net}, {kind}: {points:+.2f} points")
    return failures


def _exported(eager: nn.Module, some: Samples) -> Exported:
    example = torch.from_numpy(some[:2])
    live, folded = (to_onnx(eager, example, "signal", folded=is_folded) for is_folded in (False, True))
    folded = fold_batch_norm(folded)  # torch folds into convolutions only
    return Exported(eager, live, folded, quantize_onnx(folded, some))


def _re_estimated(net: SignalNet, live: Samples, x: Samples) -> Samples:
    """(N, classes) answers of the float net, re-estimated from ``live`` in one batch."""
    again = oracles.fvcore_update_bn(net.eager, net.to_own(live), len(live))
    with torch.inference_mode():
        return np.asarray(again(torch.from_numpy(net.to_own(x))).numpy(), np.float32)


def _accuracy(answers: Samples, labels: signals.Labels) -> float:
    return float((answers.argmax(axis=1) == labels).mean())


def _score(target: Target, patch: Patch | None, x: Samples, labels: signals.Labels) -> float:
    return float((predicted(target.runner(patch), x) == labels).mean())


def _line(kind: str, group: Sequence[Found]) -> list[object]:
    kept = sum(one.keeps_weights for one in group)
    ways = [[one.gap(way) for one in group] for way in WAYS]
    return [
        kind, len(group), f"{max(one.answers for one in group):.1e}",
        *(f"{exact_points(np.mean(gaps))} ({exact_points(min(gaps))})" for gaps in ways),
        exact_points(np.mean([one.healthy for one in group])),
        "yes" if kept == len(group) else "no" if not kept else f"{kept} of {len(group)}",
    ]  # fmt: skip


def _by_drift(found: Sequence[Found]) -> str:
    lines = []
    for drift, group in grouped(found, lambda one: one.drift).items():
        figures = [[one.before for one in group], [one.estimated for one in group]]
        figures.append([one.patched[SITE_INPUT] for one in group])
        lines.append([drift, *(f"{np.mean(part):.3f}" for part in figures)])
    return table(
        ["drift", "before, mean of the formats", "re-estimated in float", f"{SITE_INPUT}, mean"], lines
    )


@click.command()
@click.option("--seeds", default="50,51,52", show_default=True)
@click.option("--docs", type=click.Path(path_type=Path), help=f"Also write {PAGE} there.")
@click.option("--date", help="To write at the top; default: today.")
def main(seeds: str, docs: Path | None, date: str | None) -> None:
    """Measure nets on signals in every format; exits 1 when one is further from re-estimation than allowed."""
    found: list[Found] = []
    for seed in map(int, seeds.split(",")):
        try:
            found += measure(seed)
        except NotInstalled as err:
            raise click.ClickException(str(err)) from err
        click.echo(f"seed {seed}: {len(found)} cases so far", err=True)
    text, failures = report(found), find_failures(found)
    click.echo(text)
    if docs is not None:
        (docs / PAGE).write_text(_page(found, seeds, date, failures), encoding="utf-8")
    if failures:
        raise click.ClickException("; ".join(failures))


def _page(found: Sequence[Found], seeds: str, date: str | None, failures: Sequence[str]) -> str:
    title = "# Parity: nets on signals in every format, compared with BatchNorm re-estimation in torch"
    made = (
        f"Generated by `python -m benchmarks run signal-parity --docs docs/results` on "
        f"{date or time.strftime('%Y-%m-%d')} from {len(found)} cases (seeds {seeds}); do not edit."
    )
    goal = (
        f"Goal: answers of float formats within {ALLOWED:g}; {OWN_INPUT} at most {ALLOWED_POINTS:g} point below. "
        f"Missed: {'; '.join(failures) or 'none'}."
    )
    return "\n\n".join([title, made, READING, goal, report(found)]) + "\n"
