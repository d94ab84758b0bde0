"""The page about parity out of its rows. Pure text."""

from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.accuracy.records import NOTHING, Case, Row
from benchmarks.accuracy.tables.figures import grouped
from benchmarks.accuracy.tables.markdown import table

ORACLE = "float, fvcore"
WEIGHTS_KEPT, ROLLS_BACK = "weights_kept", "rolls_back"
IN_TURN = ", layer by layer"
"""Behind the name of a format: measured in turn in the patched model, instead of in one pass."""
OWN = ", the net's own moments"
"""Behind the name of a format: the baseline is what training left in the BatchNorms instead of the site's pictures."""
TITLE = "Parity: one net in every format, compared with BatchNorm re-estimation in its training framework"
READING = """\
The small Fashion-MNIST net, deployed in every format. All taps, prior 0, no gate: each model is patched from the
same drifted pictures against moments that it gave on the same 512 healthy ones, and is compared on the same drifted
test pictures with the float net whose BatchNorms were re-estimated from those pictures in eager torch (fvcore's
`update_bn_stats`; the row of `torch.optim.swa_utils.update_bn` shows by how much the two recipes differ). Differences
are in points of accuracy, patched minus re-estimated; *healthy* is the difference of the two models before any drift,
which is what the format itself costs. *Layer by layer* measures every tap in the model whose earlier layers are patched
already, instead of all of them in one pass of the observer: what remains there does not come from the one pass.
*The net's own moments*: the baseline is the mean (beta) and spread (gamma) that training left in the BatchNorms, which
re-estimation restores by construction, instead of what the site's 512 pictures gave; the difference to the row above it
comes from the baseline, not from the patch. *Weights kept* compares the stored weights of every layer, bit for bit;
folded float models have no other place for a correction. *Rolls back* compares the answers of the unpatched model
before and after patching, bit for bit."""


def sections(rows: Sequence[Row]) -> list[str]:
    """A table per reference size, and one by drift."""
    found = []
    for n, group in sorted(grouped(rows, lambda row: row.case.n).items()):
        found.append(f"## {n} pictures\n\n{by_format(group)}")
    return [*found, f"## Drift by drift\n\n{by_drift(rows)}"]


def by_format(rows: Sequence[Row]) -> str:
    """Every format against the oracle."""
    oracle = _oracle(rows)
    head = ["format", "cases", "mean difference, points", "mean absolute", "lowest", "highest",
            "healthy", "weights kept", "rolls back"]  # fmt: skip
    lines = []
    for method, group in grouped(rows, lambda row: row.method).items():
        if method in (NOTHING, ORACLE):
            continue
        gaps = [row.after - oracle[row.case].after for row in group]
        healthy = np.mean([row.healthy - oracle[row.case].healthy for row in group])
        lines.append([
            method, len(gaps), exact_points(np.mean(gaps)), f"{100 * np.mean(np.abs(gaps)):.2f}",
            exact_points(min(gaps)), exact_points(max(gaps)), exact_points(healthy),
            _always(group, WEIGHTS_KEPT), _always(group, ROLLS_BACK),
        ])  # fmt: skip
    return table(head, lines)


def by_drift(rows: Sequence[Row]) -> str:
    """The accuracies behind the differences, mean over the seeds; formats as their mean, patched the usual way."""
    head = ["drift", "pictures", "float, nothing done", ORACLE, "patched, mean of the formats",
            "mean difference, points", "lowest", "highest"]  # fmt: skip
    oracle = _oracle(rows)
    lines = []
    for (drift, severity, n), group in grouped(
        rows, lambda r: (r.case.drift, r.case.severity, r.case.n)
    ).items():
        patched = [row for row in group if _is_patched(row)]
        gaps = [row.after - oracle[row.case].after for row in patched]
        lines.append([
            f"{drift}, {severity}", n, _mean(r.after for r in group if r.method == NOTHING),
            _mean(r.after for r in group if r.method == ORACLE), _mean(r.after for r in patched),
            exact_points(np.mean(gaps)), exact_points(min(gaps)), exact_points(max(gaps)),
        ])  # fmt: skip
    return table(head, lines)


def exact_points(change: float | np.floating) -> str:
    """A change of a share in points, signed, with two digits: the goal is half a point."""
    return f"{100 * change:+.2f}"


def _oracle(rows: Sequence[Row]) -> dict[Case, Row]:
    return {row.case: row for row in rows if row.method == ORACLE}


def _is_patched(row: Row) -> bool:
    """Whether it is a format patched the usual way: in one pass, against the site's moments."""
    return WEIGHTS_KEPT in row.detail and not row.method.endswith((IN_TURN, OWN))


def _always(rows: Sequence[Row], fact: str) -> str:
    found = [row.detail[fact] for row in rows if fact in row.detail]
    if not found:
        return "-"
    return "yes" if all(found) else "no" if not any(found) else f"{sum(found):.0f} of {len(found)}"


def _mean(values: Iterable[float]) -> str:
    return f"{np.mean(list(values)):.3f}"
