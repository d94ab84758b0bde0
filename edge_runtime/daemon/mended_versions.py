"""Which models have a version that was skipped when they were opened, and has been copied whole since."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from edge_runtime.daemon.background_look import BackgroundLook
from edge_runtime.daemon.running import Running
from edge_runtime.deployment.bundle_trust import find_trust
from edge_runtime.deployment.versions import Skipped, find_mended
from edge_runtime.system.supervised_thread import Crashes


class MendedVersions:
    """Asks the disk in the background; for the main thread."""

    def __init__(
        self,
        running: Running,
        crashes: Crashes,
        run_in_background: Callable[[Callable[[], Any]], Future[Any]],
    ) -> None:
        self._running = running
        self._look = BackgroundLook[dict[str, Skipped]]("mended-versions", crashes, run_in_background)
        self._tried: dict[str, Skipped] = {}
        """By model: it could not be used all the same; not tried again before its folder changes."""

    def find(self, now_s: float) -> dict[str, Skipped]:
        """What the last look has found, once; begins with the next one when it is due. Returns at once."""
        found = self._look.take()
        if found is not None:
            return found
        if self._look.is_due(now_s) and (skipped := self._find_skipped()):
            config = self._running.config
            self._look.begin(lambda: find_mended(skipped, partial(find_trust, config)), now_s)
        return {}

    def _find_skipped(self) -> dict[str, tuple[Skipped, int]]:
        """By model, what was skipped, and the version that answers in its place."""
        return {
            name: (self._tried.get(name, runtime.skipped), runtime.bundle.manifest.version)
            for name, runtime in self._running.models.items()
            if runtime.skipped is not None
        }

    def note_unusable(self, found: Mapping[str, Skipped]) -> None:
        """What was found could not be used."""
        self._tried |= found

    def forget(self, name: str) -> None:
        """Another bundle, or none, is the model's now."""
        self._tried.pop(name, None)
