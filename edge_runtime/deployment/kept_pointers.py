"""The pointers to versions of one model as its rollout moves them: on the disk first, then in memory."""

from dataclasses import replace
from pathlib import Path

import structlog

from edge_runtime.deployment.rollout_policy.crash_loop import clear_starts, count_start
from edge_runtime.deployment.version_pointers import WRITING, VersionPointers, read_boot_id
from edge_runtime.errors import StateError

log = structlog.get_logger()


class KeptPointers:
    """Each step says whether the disk took it; one that it refused has changed nothing, but where that is said."""

    def __init__(self, path: Path, model: str, bundle: str, version: int) -> None:
        """Nothing is read yet; ``version`` of the ``bundle`` of this name is the one that answers."""
        self._path, self._model, self._bundle, self._version = path, model, bundle, version
        self.now = VersionPointers()
        """As they are on the disk, or should be."""
        self._before_promotion: VersionPointers | None = None
        self.problem: str | None = None
        """Why the disk refused the last step; None: it did not."""

    def begin(self) -> None:
        """The version answers: note it; where the disk refuses, the next step writes it all the same."""
        known, version = self._load(), self._version
        previous = known.previous if known.active in (None, version) else known.active
        candidate = known.candidate if known.candidate not in (version, previous) else None
        starts = clear_starts(known.starts, version)
        noted = replace(known, candidate=candidate, starts=starts).activate(version, previous)
        if not self._keep(noted):
            self.now = noted

    def forget_start(self) -> None:
        """The version was opened for an edit that was given up, while another rollout goes on: no start that failed."""
        with WRITING:
            self.now = self._load()
            self.clear_starts(self._version)

    def try_version(self, version: int) -> bool:
        """It becomes the candidate; one more start with it is begun."""
        starts = count_start(self.now.starts, version)
        return self._keep(replace(self.now, candidate=version, starts=starts))

    def clear_starts(self, version: int) -> bool:
        """The starts with a version were no failures."""
        return self._keep(replace(self.now, starts=clear_starts(self.now.starts, version)))

    def promote(self, version: int) -> bool:
        """It is active, and the one that answered until now the one to go back to."""
        starts = clear_starts(self.now.starts, version)
        before, noted = self.now, replace(self.now, candidate=None, starts=starts)
        is_noted = self._keep(noted.activate(version, self._version))
        self._before_promotion = before if is_noted else None
        return is_noted

    def demote(self) -> None:
        """In memory: what was promoted is not active after all; the refusal that follows writes it."""
        before = self._before_promotion or self.now
        self.now = replace(self.now, active=self._version, previous=before.previous, earlier=before.earlier)

    def refuse(self, version: int, reason: str) -> None:
        """It is not tried again by itself: at least as long as this process lives, where the disk refuses."""
        starts = clear_starts(self.now.starts, version)
        noted = replace(
            self.now, candidate=None, refused={**self.now.refused, version: reason}, starts=starts
        )
        if not self._keep(noted):
            self.now = noted

    def allow(self, version: int) -> bool:
        """It may be tried again."""
        refused = {number: why for number, why in self.now.refused.items() if number != version}
        return self._keep(replace(self.now, refused=refused, starts=clear_starts(self.now.starts, version)))

    def _load(self) -> VersionPointers:
        try:
            known = VersionPointers.load(self._path)
        except StateError as err:
            log.error("pointers to versions damaged: begun anew", model=self._model, reason=str(err))
            known = VersionPointers()
        return known.of(self._bundle).forget_other_boots(read_boot_id())

    def _keep(self, pointers: VersionPointers) -> bool:
        if pointers == self.now and self.problem is None and self._path.exists():
            return True
        try:
            pointers.save(self._path)
        except StateError as err:
            if self.problem is None:
                log.error("pointers to versions not written", model=self._model, reason=str(err))
            self.problem = str(err)
            return False
        self.now, self.problem = pointers, None
        return True
