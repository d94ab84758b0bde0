"""Markdown tables out of rows. Pure text; the figures come from ``figures``."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from benchmarks.accuracy.drifts.by_name import HEALTHY
from benchmarks.accuracy.poison_records import PoisonRow
from benchmarks.accuracy.records import (
    CANDIDATE,
    GATE,
    IID,
    MOMENTS,
    NOTHING,
    TENT,
    TENT_LONG,
    TENT_STILL,
    ZEROTH_ORDER,
    Row,
)
from benchmarks.accuracy.tables.figures import (
    MAIN_N,
    Pooled,
    best_candidates,
    describe,
    drifted_only,
    float_gaps,
    gate_figures,
    grouped,
    is_main,
    of_several_sizes,
    pooled,
)

WORST_SHOWN = 10
COMPARED = (
    MOMENTS,
    "input",
    "all taps, prior 0",
    "bias alone",
    ZEROTH_ORDER,
    "float, fvcore",
    TENT,
    TENT_LONG,
    TENT_STILL,
)
"""The methods that the table of drifts shows next to the gate, where they were measured."""
NAMES = {GATE: "**gate on**", MOMENTS: "gate on, moments alone"}
"""What a method is called on the pages, where that is not its own name."""


def by_method(rows: Sequence[Row]) -> str:
    """Every method in the main setting, pooled over drifts and seeds."""
    main = [row for row in rows if is_main(row) and row.method not in (CANDIDATE, NOTHING)]
    found = {name(method): pooled(group) for method, group in grouped(main, lambda row: row.method).items()}
    best = best_candidates([row for row in rows if is_main(row)])
    if best:
        found["best candidate, by the test labels"] = pooled(best)
    return _pooled_table("method", found)


def by_drift(rows: Sequence[Row]) -> str:
    """The main setting drift by drift, mean over the seeds."""
    main = [row for row in rows if is_main(row)]
    known = {row.method for row in main}
    others = [method for method in COMPARED if method in known]
    head = ["drift", "healthy", "nothing", name(GATE), *map(name, others), "best candidate", "taken"]
    best = grouped(best_candidates(main), lambda row: row.case.drift)
    lines = []
    for drift, group in grouped(main, lambda row: row.case.drift).items():
        methods = grouped(group, lambda row: row.method)
        after = {method: _mean([r.after for r in found]) for method, found in methods.items()}
        gated = methods.get(GATE, [])
        lines.append([
            f"{drift}, {group[0].case.severity}", _mean([r.healthy for r in methods[NOTHING]]), after[NOTHING],
            f"**{after.get(GATE, '-')}**", *(after.get(m, "-") for m in others),
            _mean([r.after for r in best.get(drift, [])]), f"{sum(r.accepted for r in gated)} of {len(gated)}",
        ])  # fmt: skip
    return table(head, lines)


def by_size(rows: Sequence[Row]) -> str:
    """The gate by the number of reference pictures; drifts and severities that were tried with several."""
    gated = [row for row in of_several_sizes(rows) if row.method == GATE]
    groups = grouped(gated, lambda row: str(row.case.n))
    return _pooled_table("reference pictures", {n: pooled(group) for n, group in groups.items()})


def by_stream(rows: Sequence[Row]) -> str:
    """The gate by stream, compared with the i.i.d. references of the same size, drifts and seeds."""
    gated = [row for row in drifted_only(rows) if row.method == GATE and not row.case.baseline]
    found: dict[str, Pooled | None] = {}
    for stream, group in grouped(gated, lambda row: row.case.stream).items():
        if stream == IID:
            continue
        same = {(r.case.drift, r.case.severity, r.case.n, r.case.seed) for r in group}
        usual = [r for r in gated if r.case.stream == IID
                 and (r.case.drift, r.case.severity, r.case.n, r.case.seed) in same]  # fmt: skip
        found[stream] = pooled(group)
        found[f"{IID}, the same cases as {stream}"] = pooled(usual)
    return _pooled_table("stream", {key: value for key, value in found.items() if value})


def by_severity(rows: Sequence[Row]) -> str:
    """The gate by family and severity, at the track's own n; and with a small baseline."""
    gated = [
        row
        for row in drifted_only(rows)
        if row.method == GATE and row.case.stream == IID and row.case.n == MAIN_N[row.case.track]
    ]

    def family(row: Row) -> str:
        kind = "camera drifts" if row.case.drift.startswith("camera:") else "corruptions"
        small = f", baseline of {row.case.baseline}" if row.case.baseline else ""
        return f"{kind}, severity {row.case.severity}{small}"

    return _pooled_table("drifts", {key: pooled(group) for key, group in grouped(gated, family).items()})


def healthy(rows: Sequence[Row]) -> str:
    """What each method does where nothing has drifted."""
    still = [row for row in rows if row.case.drift == HEALTHY and row.method not in (NOTHING, CANDIDATE)]
    groups = grouped(still, lambda row: (name(row.method), row.case.stream))
    lines = [
        [method, stream, len(group), points(np.mean([r.after - r.before for r in group])),
         points(min(r.after - r.before for r in group)), sum(r.accepted for r in group)]
        for (method, stream), group in groups.items()
    ]  # fmt: skip
    return table(["method", "stream", "cases", "mean change, points", "worst", "patches"], lines)


def gate(rows: Sequence[Row]) -> str:
    """The gate against the truth about every candidate."""
    found = gate_figures(rows)
    if found is None:
        return ""
    lines: list[list[object]] = [
        ["cases, candidates in them", f"{found.cases}, {found.candidates}"],
        ["helpful (better than nothing by > 1 point)", found.helpful],
        ["harmful (worse by > 1 point)", found.harmful],
        ["of the helpful, accepted if alone", _share(found.helpful_accepted_alone, found.helpful)],
        ["of the harmful, accepted if alone", _share(found.harmful_accepted_alone, found.harmful)],
        ["of the harmful, chosen", _share(found.harmful_chosen, found.harmful)],
        [
            "of the cases with a helpful candidate, ended with one",
            _share(found.helped, found.cases_with_help),
        ],
        [
            "loss recovered, of what the best candidate would",
            f"{found.recovered:.2f} of {found.possible:.2f}",
        ],
    ]
    return table(["", ""], lines)


def poison(rows: Sequence[PoisonRow]) -> str:
    """What poisoned references led to, track by track, and every harmful one."""
    lines = [
        [track, len(group), sum(r.answer == "error" for r in group), sum(r.answer == "refused" for r in group),
         sum(r.is_accepted for r in group), _harmful(group), sum(r.is_costly_lie for r in group)]
        for track, group in grouped(rows, lambda row: f"{row.track}, seed {row.seed}").items()
    ]  # fmt: skip
    head = ["track", "references", "errors", "refused", "patches", "harmful", "patches that fit a lie"]
    return table(head, lines)


def _harmful(rows: Sequence[PoisonRow]) -> str:
    found = [row for row in rows if row.is_harmful]
    names = ", ".join(f"{row.poison} on {row.camera}: {points(-row.harm)}" for row in found)
    return f"{len(found)} ({names})" if found else "0"


def worst(rows: Sequence[Row]) -> str:
    """The cases in which the gate lost most."""
    gated = sorted((r for r in rows if r.method == GATE), key=lambda r: r.after - r.before)[:WORST_SHOWN]
    return table(["case", "change, points"], [[describe(r), points(r.after - r.before)] for r in gated])


def against_float(rows: Sequence[Row]) -> str:
    """The int8 patch of all taps against the same re-estimation of the float model from the same pictures."""
    gaps = float_gaps(rows)
    if not gaps:
        return ""
    values: list[object] = [
        len(gaps),
        points(np.mean(gaps)),
        points(np.mean(np.abs(gaps))),
        points(min(gaps)),
        points(max(gaps)),
    ]
    return table(["cases", "mean difference, points", "mean absolute", "lowest", "highest"], [values])


def table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats with three digits."""
    rows = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in line] for line in lines]
    return "\n".join(_lines([list(head), ["---"] * len(head), *rows])) if rows else ""


def name(method: str) -> str:
    """What a method is called on the pages."""
    return NAMES.get(method, method)


def points(change: float | np.floating) -> str:
    """A change of a share in points, signed."""
    return f"{100 * change:+.1f}"


def _pooled_table(what: str, groups: dict[str, Pooled | None]) -> str:
    head = [what, "cases", "before", "after", "loss recovered", "worst case, points", "harmed", "seconds"]
    lines = [
        [
            key,
            one.cases,
            one.before,
            one.after,
            _recovered(one),
            points(one.worst),
            one.harmed,
            f"{one.seconds:.1f}",
        ]
        for key, one in groups.items()
        if one is not None
    ]
    return table(head, lines)


def _recovered(one: Pooled) -> str:
    spread = "" if np.isnan(one.recovered_spread) else f" ± {one.recovered_spread:.2f}"
    return f"{one.recovered:.2f}{spread}"


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else "none"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}" if values else "-"


def _lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    return ("| " + " | ".join(row) + " |" for row in rows)
