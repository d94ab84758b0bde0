"""Which versions to start with, by the pointers of a rollout, and the note of a start that is under way.

A version that took the process with it twice before it answered is passed over (``rollout_policy.crash_loop``). Where
the rollout was turned off since, what it did not finish is passed over too. What was refused is never started with.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from edge_runtime.config import Config
from edge_runtime.deployment.model_state import ModelState, model_folder
from edge_runtime.deployment.rollout_policy.crash_loop import (
    MOST_ENDS,
    clear_starts,
    count_start,
)
from edge_runtime.deployment.version_pointers import WRITING, VersionPointers, read_boot_id
from edge_runtime.deployment.versions import name_bundle
from edge_runtime.errors import StateError

log = structlog.get_logger()


def has_rollout(config: Config, name: str) -> bool:
    """Whether newer versions of a model are tried before they answer."""
    model = config.models[name]
    return model.rollout is not None and model.version == "latest"


class StartRecord:
    """The pointers of one model while it is opened; without a rollout nothing is written."""

    def __init__(
        self, path: Path, bundle: str, *, is_kept: bool, may_write: bool, last_run: int | None = None
    ) -> None:
        """Reads them.

        Args:
            path: Of the pointers; may be missing.
            bundle: Its name; those of another one, which the model used before, do not count.
            is_kept: Whether the model has a rollout.
            may_write: Whether starts may be noted.
            last_run: The version that ran last; another one than the active one was chosen by a person.
        """
        self._path, self._bundle, self._is_kept = path, bundle, is_kept
        self._may_write = is_kept and may_write
        self._pointers, self._last_run = VersionPointers(), last_run
        self._are_damaged = False
        try:
            known = VersionPointers.load(self._path)
            if known.bundle not in (None, bundle):
                self._last_run = None  # of that other one
            self._pointers = self._of_now(known)
        except StateError as err:
            self._are_damaged = True
            log.error("the version that ran last answers", reason=str(err))

    def order(self, installed: Collection[int]) -> list[int]:
        """Those of the installed versions that may be opened, best first; a refused one is never among them.

        With a rollout: those that answered before, the latest first; then older ones; then what was never tried; then
        what ended the process too often. Without one: the newest, the one that ran last, older ones; what was on its
        way when the rollout was turned off comes last.
        """
        if self._is_kept and self._answered:
            first, last = self._answered, self._crashed
            rest = sorted(
                installed, key=lambda one: (one > self._answered[0], one != self._pointers.candidate, -one)
            )
        else:
            first, last = self._stays, self._crashed if self._is_kept else self._unfinished
            rest = sorted(set(installed) - last - self._refused, reverse=True)
            if self._last_run is not None:
                rest.insert(1, self._last_run)
        for version in last.intersection(first):
            log.error("version passed over: it ended the process before it was ready", version=version)
        wanted = dict.fromkeys(
            [*(one for one in (*first, *rest) if one not in last), *sorted(last, reverse=True)]
        )
        return [one for one in wanted if one in installed and one not in self._refused]

    def explain(self, used: int, installed: Collection[int]) -> str | None:
        """Why a newer version than the one that is ``used`` is left out, since the rollout is off; None: none is."""
        newer = sorted(one for one in installed if one > used)
        if self._is_kept or not newer:
            return None
        how = "write the number of a version, or turn rollout on again"
        unfinished = self._pointers.candidate
        if unfinished in newer and unfinished in self._unfinished:
            return f"version {unfinished} was on its way when rollout was turned off; {used} stays: {how}"
        if newer[-1] in self._refused:
            reason = self._pointers.refused[newer[-1]]
            return f"version {newer[-1]} was refused by its rollout ({reason}); {used} answers: {how}"
        return None

    def find_untried(self, used: int) -> str | None:
        """Why a version answers that no rollout tried while others had answered before; None: it is none of these."""
        if not self._is_kept or not self._answered or used in self._answered:
            return None
        before = ", ".join(map(str, self._answered))
        return f"version {used} answers without a trial: none that answered before ({before}) can be used"

    @property
    def _answered(self) -> Sequence[int]:
        """The active one, the one before, earlier ones."""
        known = self._pointers
        found = (known.active, known.previous, *known.earlier, self._last_run)
        return tuple(dict.fromkeys(one for one in found if one is not None))

    @property
    def _stays(self) -> Sequence[int]:
        """Without a rollout: the version that does not give way to a newer one."""
        if self._are_damaged and self._last_run is not None:
            return (self._last_run,)
        active = self._pointers.active
        return (active,) if self._unfinished and active is not None else ()

    @property
    def _refused(self) -> frozenset[int]:
        """Without a rollout one that answers all the same was chosen by a person."""
        return frozenset(self._pointers.refused) - (frozenset() if self._is_kept else {self._last_run})

    @property
    def _crashed(self) -> frozenset[int]:
        return frozenset(one for one, count in self._pointers.starts.items() if count >= MOST_ENDS)

    @property
    def _unfinished(self) -> frozenset[int]:
        """The version that was on its way when the rollout was turned off; none when that is settled since."""
        known = self._pointers
        is_of_now = known.active is not None and self._last_run in (None, known.active)
        if known.candidate is None or not is_of_now or self._is_kept:
            return frozenset()
        return frozenset({known.candidate})

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
                now = self._of_now(VersionPointers.load(self._path))
                replace(now, starts=change(now.starts)).save(self._path)
        except StateError as err:  # a full disk must not keep a box from answering
            log.warning("a start is not noted", reason=str(err))

    def _of_now(self, known: VersionPointers) -> VersionPointers:
        return known.of(self._bundle).forget_other_boots(read_boot_id())


def read_starts(config: Config, name: str, *, may_write: bool) -> StartRecord:
    """The record of a model, as its configuration says."""
    model_state = ModelState(model_folder(config.state_dir, name))
    return StartRecord(
        model_state.versions_path,
        name_bundle(config.bundle_root(name)),
        is_kept=has_rollout(config, name),
        may_write=may_write,
        last_run=model_state.read_last_version(),
    )
