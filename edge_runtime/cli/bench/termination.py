"""SIGTERM ends a measurement with everything that it has started."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil


@contextmanager
def end_children_on_sigterm() -> Iterator[None]:
    """Meanwhile SIGTERM is handed on to all processes that this one has started, and ends it in good order.

    By itself it would end this process alone, without its ``finally`` blocks. Children of children are told here, since
    ``subprocess.run`` kills its child when it is left early. The exit code is 143. For the main thread.
    """

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # the end that is under way is not cut short
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.terminate()
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
