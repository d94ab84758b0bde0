"""Which models have a version that was skipped when they were opened, and has been copied whole since."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from edge_runtime.daemon.running import Running
from edge_runtime.deployment.bundle_trust import find_trust
from edge_runtime.deployment.versions import Skipped, find_mended
from edge_runtime.system.supervised_thread import Crashes

LOOK_EVERY_S = 5.0


class MendedVersions:
    """Asks the disk in the background; for the main thread."""

    def __init__(
        self,
        running: Running,
        crashes: Crashes,
        run_in_background: Callable[[Callable[[], Any]], Future[Any]],
    ) -> None:
        self._running, self._crashes, self._run_in_background = running, crashes, run_in_background
        self._look: Future[dict[str, Skipped]] | None = None
        self._tried: dict[str, Skipped] = {}
        """By model: it could not be used all the same; not tried again before its folder changes."""
        self._looked_at_s = -LOOK_EVERY_S

    def find(self, now_s: float) -> dict[str, Skipped]:
        """What the last look has found, once; begins with the next one when it is due. Returns at once."""
        if self._look is not None:
            if not self._look.done():
                return {}
            done, self._look = self._look, None
            with self._crashes.contain("mended-versions", log_once=True):
                return done.result()
            return {}  # the next look may find better
        skipped = {
            name: (self._tried.get(name, runtime.skipped), runtime.bundle.manifest.version)
            for name, runtime in self._running.models.items()
            if runtime.skipped is not None
        }
        if skipped and now_s - self._looked_at_s >= LOOK_EVERY_S:
            self._looked_at_s, config = now_s, self._running.config
            self._look = self._run_in_background(lambda: find_mended(skipped, partial(find_trust, config)))
        return {}

    def note_unusable(self, found: Mapping[str, Skipped]) -> None:
        """What was found could not be used."""
        self._tried |= found

    def forget(self, name: str) -> None:
        """Another bundle, or none, is the model's now."""
        self._tried.pop(name, None)
