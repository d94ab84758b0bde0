"""Durations for people."""


def format_ms(value_ms: float) -> str:
    """A number of milliseconds: with one decimal from 1 on, below it with two digits that count (``0.013``)."""
    return f"{value_ms:.1f}" if value_ms >= 1 or value_ms == 0 else f"{value_ms:#.2g}"
