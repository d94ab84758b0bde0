"""One thing that was looked at, how it is, and what to do about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from edge_runtime.errors import gravest


class Level(StrEnum):
    """How grave a finding is."""

    OK = "ok"
    NOTE = "note"
    """It works, and may not be what is wanted."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found."""

    id: str
    """Stable, for machines: the topic, and behind a dot what is wrong with it; docs/operations.md lists them."""
    level: Level
    found: str
    advice: str = ""
    """What to do; empty when nothing is to be done."""
    exit_code: int = 0
    """Of a problem, see ``errors``."""


def fine(topic: str, found: str) -> Finding:
    """Nothing is wrong."""
    return Finding(topic, Level.OK, found)


def note(id: str, found: str, advice: str = "") -> Finding:  # noqa: A002 - the word of the field
    """It works, and may not be what is wanted."""
    return Finding(id, Level.NOTE, found, advice)


def problem(id: str, found: str, advice: str, exit_code: int) -> Finding:  # noqa: A002 - the word of the field
    """Something does not work."""
    return Finding(id, Level.PROBLEM, found, advice, exit_code)


def exit_code_of(findings: Iterable[Finding]) -> int:
    """The code of the gravest problem; 0 without one."""
    return gravest(finding.exit_code for finding in findings if finding.level is Level.PROBLEM)
