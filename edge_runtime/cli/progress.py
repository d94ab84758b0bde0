"""How far a command is: one line at a person's terminal, gone at the end. The adapter of tqdm.

Nothing is shown where the error stream is no terminal, and with ``--json`` or ``--quiet``. The time that is left is
shown only where all steps take about as long: a guess that is wrong is worse than none.
"""

import sys
import threading
from types import TracebackType
from typing import Any, Literal, Self

import click

from edge_runtime.cli.printable import make_printable

Unit = Literal["steps", "bytes", "share"]
_MOST_SHOWN = 200
"""Characters: a device may have sent the text."""
_REFRESH_S = 1.0
"""The clock of the line goes on while one step takes long."""
_COUNTS: dict[Unit, str] = {
    "steps": "{n_fmt} of {total_fmt}",
    "bytes": "{n_fmt}B of {total_fmt}B",
    "share": "{percentage:.0f} %",
}


class Progress:
    """One line that says what is done now, and how much of it."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty() and not _is_quiet()
        self._bar: Any = None
        """Of tqdm; None: nothing is shown now."""
        self._shown: tuple[str, float | None] | None = None
        self._end = threading.Event()
        self._clock = threading.Thread(target=self._refresh, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self._is_shown:
            self._clock.start()
        return self

    def __exit__(self, _: object, __: BaseException | None, ___: TracebackType | None) -> None:
        self._end.set()
        if self._clock.is_alive():
            self._clock.join()
        self._close()

    def begin(
        self, text: str, total: float | None = None, *, unit: Unit = "steps", is_even: bool = False
    ) -> None:
        """Show a new line, unless it is the one that is there.

        Args:
            text: What is done now.
            total: How much there is of it; None: that is not known.
            unit: Of that.
            is_even: Whether it is many small parts of about the same time, so that the time that is left can be told.
        """
        if not self._is_shown or self._shown == (text, total):
            return
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no second thread
        self._close()
        self._shown = text, total
        self._bar = tqdm(
            desc=make_printable(text[:_MOST_SHOWN]),
            total=total,
            unit_scale=unit == "bytes",
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
            bar_format=_find_format(total, unit, is_even=is_even),
        )

    def set(self, done: float, text: str | None = None) -> None:
        """So much of the total is done; ``text``: what is done now."""
        if self._bar is not None:
            if text is not None:
                self._bar.set_description_str(make_printable(text[:_MOST_SHOWN]), refresh=False)
            self._bar.n = done
            self._bar.refresh()

    def advance(self, count: float = 1) -> None:
        """So much more is done."""
        if self._bar is not None:
            self._bar.update(count)

    def _refresh(self) -> None:
        while not self._end.wait(_REFRESH_S):
            bar = self._bar
            if bar is not None:
                bar.refresh()

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()


def _find_format(total: float | None, unit: Unit, *, is_even: bool) -> str:
    """In the words of tqdm."""
    if total is None:
        return "{desc}, {elapsed}"
    return f"{{desc}}  {{bar:20}}  {_COUNTS[unit]}, " + ("about {remaining} left" if is_even else "{elapsed}")


def _is_quiet() -> bool:
    """What the command line says."""
    context = click.get_current_context(silent=True)
    if context is None:
        return False
    return bool(context.params.get("as_json") or context.find_root().params.get("quiet"))
