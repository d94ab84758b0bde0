"""Asks the disk for something in the background, every few seconds as long as there is something to ask."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from edge_runtime.system.supervised_thread import Crashes

T = TypeVar("T")

LOOK_EVERY_S = 5.0


class BackgroundLook(Generic[T]):
    """One look at a time; for the main thread, which never waits here."""

    def __init__(
        self, name: str, crashes: Crashes, run_in_background: Callable[[Callable[[], Any]], Future[Any]]
    ) -> None:
        """``name``: what a failed look is counted under; the next one may succeed."""
        self._name, self._crashes, self._run_in_background = name, crashes, run_in_background
        self._look: Future[T] | None = None
        self._looked_at_s = float("-inf")

    def take(self) -> T | None:
        """What the last look has found, once; None until it is done, and where it failed."""
        if self._look is None or not self._look.done():
            return None
        done, self._look = self._look, None
        with self._crashes.contain(self._name, log_once=True):
            return done.result()
        return None

    def is_due(self, now_s: float) -> bool:
        """Whether no look is under way, and the last one began :data:`LOOK_EVERY_S` ago (monotonic seconds)."""
        return self._look is None and now_s - self._looked_at_s >= LOOK_EVERY_S

    def begin(self, find: Callable[[], T], now_s: float) -> None:
        """Look; ``find`` runs in the background."""
        self._looked_at_s, self._look = now_s, self._run_in_background(find)
