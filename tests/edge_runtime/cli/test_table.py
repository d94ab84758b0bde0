"""Rows for a person, in columns."""

import click

from edge_runtime.cli.table import format_table


def test_columns_begin_below_each_other():
    text = click.unstyle(format_table(("NAME", "STATE"), [("a", "whole"), ("parts/12", "")]))
    assert text.splitlines() == ["NAME      STATE", "a         whole", "parts/12"]


def test_a_header_without_rows():
    assert click.unstyle(format_table(("A", "B"), [])) == "A  B"
