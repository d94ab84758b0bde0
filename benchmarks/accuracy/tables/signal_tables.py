"""The table about signals: drift by drift, accuracies over the seeds. Pure text."""

from collections.abc import Sequence

import numpy as np

from benchmarks.accuracy.drifts.sensors import HOPELESS
from benchmarks.accuracy.drifts.streams import ONE_CLASS
from benchmarks.accuracy.records import GATE, MOMENTS, NOTHING, Row
from benchmarks.accuracy.tables.figures import grouped, recovered
from benchmarks.accuracy.tables.markdown import table

TITLE = "Recalibration of nets for signals"
READING = """\
Accuracy on the whole test part, mean over the seeds. *Recovered* is pooled over the seeds: what came back over what
the drift cost, ± the standard deviation over the seeds that lost 3 points or more. *Worst* is the worst change of a
seed, in points. *Moments alone* distils nothing. No label is used. In the rows in italics nothing may be patched: the
content changed, or what is missing cannot come back; with another machine the signals are of no class."""
LEAST_LOSS = 0.03


def sections(rows: Sequence[Row]) -> list[str]:
    """One table a data set."""
    found = []
    for name, group in grouped(rows, lambda row: row.case.drift.partition(": ")[0]).items():
        found.append(f"## {name}\n\n{_table(group)}")
    return found


def _table(rows: Sequence[Row]) -> str:
    head = ["drift", "healthy", "drifted", "**gate on**", "recovered", "worst", "patched", "moments alone"]
    groups = grouped(rows, lambda row: (row.case.drift.partition(": ")[2], row.case.stream))
    return table(head, [_line(*key, group) for key, group in groups.items()])


def _line(drift: str, stream: str, rows: Sequence[Row]) -> list[str]:
    methods = grouped(rows, lambda row: row.method)
    gated, moments = methods[GATE], methods.get(MOMENTS, [])
    is_content = drift in HOPELESS or stream == ONE_CLASS
    words = f"{drift}, one class only" if stream == ONE_CLASS else drift
    change = [100 * (row.after - row.before) for row in gated]
    return [
        f"*{words}*" if is_content else words,
        _mean([row.healthy for row in methods[NOTHING]]),
        _mean([row.before for row in gated]),
        _mean([row.after for row in gated]),
        "" if is_content else _recovered(gated),
        f"{min(change):+.1f}",
        f"{sum(row.accepted for row in gated)} of {len(gated)}",
        _mean([row.after for row in moments]),
    ]


def _recovered(rows: Sequence[Row]) -> str:
    """Pooled, with the spread over the seeds that lost enough to tell."""
    each = [recovered([row]) for row in rows if row.healthy - row.before >= LEAST_LOSS]
    if not each:
        return "nothing lost"
    return f"{recovered(rows):.2f} ± {np.std(each):.2f}"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}" if values else "-"
