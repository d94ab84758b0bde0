"""The page ``docs/results/performance.md`` out of the stored parts. Pure text."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks.performance.goals import verdicts
from benchmarks.performance.sections.changes import quota_section, recalibration_section, swap_section
from benchmarks.performance.sections.engine import arrival_section, bench_sections, picture_section
from benchmarks.performance.sections.first_figures import first_figures
from benchmarks.performance.sections.growth import dead_camera_section, growth_section
from benchmarks.performance.sections.peers import peer_section, pipe_section
from benchmarks.performance.sections.words import Parts, table

INTRODUCTION = (
    "Written by `make bench`; a part that is missing was not measured on this machine. Every ratio is of two figures "
    "of one round, in which the contenders took turns; shown are the median over the rounds and the range. The goals, "
    "and where the time goes where one is missed, are [at the end](#goals)."
)
BEFORE_CURVES: tuple[Callable[[Parts], Iterable[str]], ...] = (peer_section, pipe_section)
AFTER_CURVES: tuple[Callable[[Parts], Iterable[str]], ...] = (
    dead_camera_section, arrival_section, picture_section, bench_sections, swap_section, recalibration_section,
    quota_section,
)  # fmt: skip
"""A new section is added here; what it shows is a part of ``parts.PARTS``."""


def page(parts: Parts, facts: Mapping[str, str], plots: Mapping[str, Path] | None = None) -> str:
    """Everything; ``facts`` are machine and versions, in words; ``plots`` lie in the page's folder."""
    sections = [
        "# Performance",
        INTRODUCTION,
        *first_figures(parts),
        table(("", ""), facts.items()),
        *(text for section in BEFORE_CURVES for text in section(parts)),
        *growth_section(parts, plots or {}),
        *(text for section in AFTER_CURVES for text in section(parts)),
        "## Goals",
        _goals(parts),
        _misses(parts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _goals(parts: Parts) -> str:
    words = {True: "met", False: "**missed**", None: ""}
    rows = ((one.goal.what, one.goal.asked, one.measured, words[one.is_met]) for one in verdicts(parts))
    return table(("", "goal", "measured", ""), rows)


def _misses(parts: Parts) -> str:
    """One line for all goals that are missed for the same reason."""
    reasons: dict[str, list[str]] = {}
    for one in verdicts(parts):
        if one.is_met is False and one.why:
            reasons.setdefault(one.why, []).append(one.goal.what)
    lines = [f"- {'; '.join(what)}: {why}." for why, what in reasons.items()]
    return "Where the time of the missed ones goes:\n\n" + "\n".join(lines) if lines else ""
