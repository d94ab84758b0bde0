"""Pieces of Markdown pages. Pure."""

import re
from collections.abc import Iterable, Sequence

from tools.document.introductions import INTRODUCTIONS

NOTE = "<!-- written by `python -m tools.document`, from the types; a test compares -->"


def page(title: str, name: str, *parts: str) -> str:
    """A whole page: its introduction, and these parts."""
    shown = (part.strip("\n") for part in (INTRODUCTIONS[name], *parts))
    return "\n\n".join([f"# {title}", NOTE, *shown]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a column that is empty in every row is left out."""
    lines = [list(head), *map(list, rows)]
    kept = [number for number, _ in enumerate(head) if any(line[number] for line in lines[1:])]
    shown = [[line[number] for number in kept] for line in lines]
    shown.insert(1, ["---"] * len(kept))
    return "\n".join("| " + " | ".join(line) + " |" for line in shown)


def prose(text: str) -> str:
    """Text for a cell: one line; a bar and a tag outside of code are no Markdown."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.replace("``", "`").split()))
    return "".join(
        one.replace("|", "\\|") if one.startswith("`") else one.replace("|", "\\|").replace("<", "&lt;")
        for one in pieces
    )


def code(text: str) -> str:
    """A name."""
    return f"`{text}`".replace("|", "\\|")
