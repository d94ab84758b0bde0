"""A comparison on a recording as a page: pictures of disagreements, both arms, latency, drift.

Pure: figures in, HTML out, in the look of the other reports (``calibration.report``). Names and labels come from
bundles and recordings, and are escaped like every other text.
"""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.report import charts
from calibration.report.template import render
from edge_runtime.deployment.arm_tables import figure_rows, label_rows
from edge_runtime.recordings.comparison import ArmResult, ComparisonResult
from edge_runtime.system.milliseconds import format_ms

ALIKE = 0.99
"""From this mean agreement on the page calls them alike: of a hundred frames one."""
BINS = 24
_LONGEST_LABEL = 80


def make_page(found: ComparisonResult) -> str:
    """The page, complete, with at most a dozen pictures."""
    first, second = found.first, found.second
    names = shorten_names(first, second)
    source = files("edge_runtime.recordings").joinpath("comparison_page.jinja").read_text(encoding="utf-8")
    return render(
        source,
        title=f"{first.name} and {second.name}",
        outcome="no common answers" if found.agreement is None else f"agreement {_percent(found.agreement)}",
        is_good=found.agreement is not None and found.agreement >= ALIKE,
        headline=_headline(found),
        reasons=list(_reasons(found, names)),
        notes=list(_notes(found)),
        names={"first": names[0], "second": names[1]},
        shots=found.shots,
        rows=_rows(found),
        intervals=[one.text for one in found.intervals],
        labels=label_rows(first.summary, second.summary),
        changes=[(_cut(before), _cut(after), f"{count:,}") for before, after, count in found.changes],
        margins=charts.histograms(first.summary.margins, second.summary.margins),
        entropies=charts.histograms(first.summary.entropies, second.summary.entropies),
        latency=_latency(first, second),
        drift=_drift(found, names),
    )


def shorten_names(first: ArmResult, second: ArmResult) -> tuple[str, str]:
    """What tells the arms apart: a patch, or a version; their whole names where nothing shorter does."""
    if first.bundle == second.bundle and first.name != second.name:
        ours, theirs = (one.name.removeprefix(one.bundle).lstrip("+") for one in (first, second))
        return (f"with {ours}" if ours else "without a patch"), (
            f"with {theirs}" if theirs else "without a patch"
        )
    names = [one.bundle.rpartition("/")[0] for one in (first, second)]
    if names[0] == names[1] and first.bundle != second.bundle:
        ours, theirs = (one.name.rpartition("/")[2] for one in (first, second))
        return f"version {ours}", f"version {theirs}"
    return first.name, second.name


def is_pace_alike(first_ms: NDArray[np.float64], second_ms: NDArray[np.float64]) -> bool:
    """Whether the times of the same frames, in order, show no difference that counts.

    The medians are less than 5 % apart, or chance explains which one was slower: a sign test at 95 %, which a busy
    machine disturbs little, since each frame was answered by both in a row.
    """
    before, after = np.median(first_ms), np.median(second_ms)
    balance = np.sign(second_ms - first_ms).sum()
    return bool(0.95 * before <= after <= 1.05 * before or abs(balance) <= 1.96 * np.sqrt(first_ms.size))


def _headline(found: ComparisonResult) -> str:
    if found.agreement is None:
        return "Their answers are of different kinds and cannot be compared frame by frame."
    apart = found.compared - found.alike
    if not apart:
        return f"They give the same answer to all {found.compared:,} frames."
    return f"They answer {apart:,} of {found.compared:,} frames differently."


def _reasons(found: ComparisonResult, names: tuple[str, str]) -> Iterator[str]:
    first, second = found.first, found.second
    ours, theirs = names
    if found.labelled:
        yield (
            f"Right, of {found.labelled:,} frames that a person has labelled: {_percent(first.right / found.labelled)} "
            f"{ours}, {_percent(second.right / found.labelled)} {theirs}."
        )
    else:
        yield "Which one is right is not known: no labels were given."
    before, after = (float(np.median(one.total_ms)) for one in (first, second))
    is_alike = is_pace_alike(first.total_ms, second.total_ms)
    pace = "Both take about as long" if is_alike else f"The second takes {after / before:.2f} times as long"
    yield f"{pace}: {_ms(before)} a frame in the median {ours}, {_ms(after)} {theirs}."
    layers = [_typical(one) for one in (first, second)]
    if layers[0] is not None and layers[1] is not None:
        yield f"A typical layer is off the healthy site by {layers[0]:.2g} {ours}, by {layers[1]:.2g} {theirs}."
    for one, name in zip((first, second), names, strict=True):
        if one.summary.failures:
            yield f"Not answered {name}: {one.summary.failures:,} frames."


def _notes(found: ComparisonResult) -> Iterator[str]:
    cut_off = "" if found.is_whole else ", which was cut off"
    yield (
        f"{found.frames:,} frames of model {found.model}, recorded on {found.device} from {found.began_at}{cut_off}."
    )
    engines = {found.first.runs_on, found.second.runs_on}
    yield f"Answered one by one and in turn; {' and '.join(sorted(engines))}."


def _rows(found: ComparisonResult) -> list[tuple[str, str, str]]:
    rows = [row for row in figure_rows(found.first.summary, found.second.summary) if "Latency" not in row[0]]
    if found.labelled:
        first, second = (_percent(one.right / found.labelled) for one in (found.first, found.second))
        rows.insert(1, (f"Right, of {found.labelled:,} labelled", first, second))
    return rows


def _latency(first: ArmResult, second: ArmResult) -> dict[str, Any]:
    both = first.total_ms, second.total_ms
    end_ms = float(max(np.percentile(one, 98) for one in both))
    end_ms = max(np.ceil(end_ms * 2) / 2, 0.5)
    counts = [np.histogram(np.minimum(one, end_ms), BINS, (0.0, end_ms))[0].tolist() for one in both]
    quantiles = [("Median", 50), ("90th percentile", 90), ("99th percentile", 99)]
    rows = [(title, *(_ms(np.percentile(one, share)) for one in both)) for title, share in quantiles]
    for title, times in (
        ("Preparation, median", (first.prepare_ms, second.prepare_ms)),
        ("Inference, median", (first.infer_ms, second.infer_ms)),
    ):
        rows.append((title, *(_ms(np.median(one)) for one in times)))
    return {
        "chart": charts.histograms(*counts, end=end_ms, unit=" ms"),
        "end": f"{end_ms:g} ms and more",
        "rows": rows,
    }


def _typical(one: ArmResult) -> float | None:
    """The median over the layers; None where none was measured."""
    return float(np.median(list(one.drift.layers.values()))) if one.drift.layers else None


def _drift(found: ComparisonResult, names: tuple[str, str]) -> dict[str, Any]:
    first, second = found.first, found.second
    rows = []
    for one, name in zip((first, second), names, strict=True):
        typical = _typical(one)
        score = one.drift.score
        status = None if score is None else score.status
        rows.append(
            {
                "name": name,
                "score": "–" if status is None else f"{status.score:.2f}",
                "limit": "–" if status is None else f"{status.threshold:.3g}",
                "verdict": "–" if status is None else str(status.verdict),
                "css": "quiet" if status is None else "warn" if status.score > status.threshold else "good",
                "layers": "–" if typical is None else f"{typical:.3g}",
                "note": one.drift.note or "",
            }
        )
    has_layers = bool(first.drift.layers)
    chart = charts.layer_chart(first.drift.layers, second.drift.layers or None, None) if has_layers else None
    return {"rows": rows, "chart": chart}


def _ms(value: float | np.floating[Any]) -> str:
    return f"{format_ms(float(value))} ms"


def _percent(share: float) -> str:
    """Never 100 % where one is missing."""
    return f"{min(share, 0.999) if share < 1 else 1.0:.1%}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_LABEL else f"{text[:_LONGEST_LABEL]}…"
