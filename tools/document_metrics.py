"""Writes the table of all metrics into ``docs/metrics.md``, from the code."""

from pathlib import Path

from edge_runtime.daemon.metric_table import METRICS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
BEGIN = "<!-- metrics: written by `python tools/document_metrics.py`; a test compares -->\n"
END = "<!-- /metrics -->"


def table() -> str:
    """One Markdown row for each metric: name, kind, labels, description."""
    rows = [
        f"| `{one.name}` | {one.kind} | {' '.join(f'`{label}`' for label in one.labels)} | {one.text} |"
        for one in METRICS
    ]
    return "\n".join(["| metric | kind | labels | |", "|---|---|---|---|", *rows]) + "\n"


def page(text: str) -> str:
    """The page with a fresh table."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
