"""Rows for a person, in columns."""

from collections.abc import Sequence

import click


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The header and the rows, each column as wide as its widest cell; the last one ends where it ends."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def align(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    return "\n".join([click.style(align(header), bold=True), *map(align, rows)])
