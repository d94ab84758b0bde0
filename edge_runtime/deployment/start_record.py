"""Which versions to start with, by the pointers of a rollout, and the note of a start that is under way.

A version that took the process with it twice before it answered is passed over (``rollout_policy.crash_loop``). Where
the rollout was turned off since, what it did not finish or refused is not started with by itself either.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from edge_runtime.deployment.rollout_policy.crash_loop import (
    MOST_ENDS,
    choose_start,
    clear_starts,
    count_start,
)
from edge_runtime.deployment.version_pointers import WRITING, VersionPointers, read_boot_id
from edge_runtime.errors import StateError

log = structlog.get_logger()


class StartRecord:
    """The pointers of one model while it is opened; without a rollout nothing is written."""

    def __init__(self, path: Path, *, is_kept: bool, may_write: bool, last_run: int | None = None) -> None:
        """Reads them.

        Args:
            path: Of the pointers; may be missing.
            is_kept: Whether the model has a rollout.
            may_write: Whether starts may be noted.
            last_run: The version that ran last; another one than the active one was chosen by a person.
        """
        self._path, self._is_kept, self._may_write = path, is_kept, is_kept and may_write
        self._pointers, self._last_run = VersionPointers(), last_run
        try:
            self._pointers = self._load()
        except StateError as err:
            log.error("the newest version answers", reason=str(err))

    @property
    def first(self) -> Sequence[int]:
        """The version to start with, as far as that is known: the active one, else the one before."""
        if not self._is_kept:
            return (
                () if self._unfinished is None or self._pointers.active is None else (self._pointers.active,)
            )
        known = [one for one in (self._pointers.active, self._pointers.previous) if one is not None]
        choice = choose_start(known, self._pointers.starts)
        for version in choice.passed_over:
            log.error("version passed over: it ended the process before it was ready", version=version)
        return () if choice.chosen is None else (choice.chosen,)

    @property
    def never(self) -> frozenset[int]:
        """Versions that are not started with by themselves: refused, or on their way."""
        known = self._pointers
        if not self._is_kept:
            left_out = {*known.refused, self._unfinished} - {self._last_run}
            return frozenset(one for one in left_out if one is not None)
        crashed = {version for version, count in known.starts.items() if count >= MOST_ENDS}
        candidate = {known.candidate} - {None} if known.active is not None else set[int | None]()
        return frozenset({*known.refused, *crashed, *(one for one in candidate if one is not None)})

    @property
    def _unfinished(self) -> int | None:
        """The version that was on its way when the rollout was turned off; None when that is settled since."""
        known = self._pointers
        is_of_now = known.active is not None and self._last_run in (None, known.active)
        return known.candidate if not self._is_kept and is_of_now else None

    def explain(self, used: int, installed: Collection[int]) -> str | None:
        """Why a newer version than the one that is ``used`` is left out, since the rollout is off; None: none is."""
        newer = sorted(one for one in installed if one > used)
        if self._is_kept or not newer:
            return None
        how = "write the number of a version, or turn rollout on again"
        if self._unfinished in newer:
            return (
                f"version {self._unfinished} was on its way when rollout was turned off; {used} stays: {how}"
            )
        refused = self._pointers.refused
        if newer[-1] in refused and newer[-1] in self.never:
            return f"version {newer[-1]} was refused by its rollout ({refused[newer[-1]]}); {used} answers: {how}"
        return None

    @contextmanager
    def count(self, version: int) -> Iterator[None]:
        """A start with a version; the note of it stays until the model answers, or the opening is refused in order."""
        self._write(lambda starts: count_start(starts, version))
        with ExitStack() as on_error:
            on_error.callback(self._write, lambda starts: clear_starts(starts, version))
            yield
            on_error.pop_all()

    def _write(self, change: Callable[[Mapping[int, int]], dict[int, int]]) -> None:
        """Change the starts alone: meanwhile a rollout may have promoted or refused a version."""
        if not self._may_write:
            return
        try:
            with WRITING:
                now = self._load()
                replace(now, starts=change(now.starts)).save(self._path)
        except StateError as err:  # a full disk must not keep a box from answering
            log.warning("a start is not noted", reason=str(err))

    def _load(self) -> VersionPointers:
        return VersionPointers.load(self._path).forget_other_boots(read_boot_id())
