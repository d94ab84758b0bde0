"""Which models answer although the trust of the configuration refuses them since an edit.

A model that runs goes on until the next start. That start does not open it, so a person must know before.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any

from edge_runtime.config import Changes, Config, changes
from edge_runtime.daemon.background_look import BackgroundLook
from edge_runtime.daemon.running import Running
from edge_runtime.deployment.bundle_trust import find_distrust, require_trust_keys
from edge_runtime.system.supervised_thread import Crashes


def describe_new(known: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each model that ``found`` has another reason for than ``known``."""
    return tuple(f"models.{name}: {why}" for name, why in found.items() if known.get(name) != why)


class TrustWatch:
    """Asks the disk in the background; what it found is in ``Running.distrusted``, which the main thread writes."""

    def __init__(
        self,
        running: Running,
        crashes: Crashes,
        run_in_background: Callable[[Callable[[], Any]], Future[Any]],
    ) -> None:
        self._running = running
        self._look = BackgroundLook[tuple[dict[str, str], dict[str, str]]](
            "trust-of-bundles", crashes, run_in_background
        )
        """What was distrusted when it began, and what of that still is."""

    def find_after(self, plan: Changes, new: Config) -> dict[str, str]:
        """The models that an edit leaves as they are and that it trusts no longer, and why. From any thread.

        Raises:
            ConfigError: the edit names keys that cannot be used.
        """
        if not any(path.partition(".")[0] == "trust" for path in plan):
            return {name: why for name, why in self._running.distrusted.items() if name not in plan.models}
        require_trust_keys(new)
        return self._find(new, new.models.keys() - plan.models)

    def warn_before(self, new: Config) -> tuple[str, ...]:
        """What an edit to ``new`` will warn of, which was not known before. From any thread.

        Raises:
            ConfigError: as ``find_after``.
        """
        running = self._running
        return describe_new(running.distrusted, self.find_after(changes(running.config, new), new))

    def look_again(self, now_s: float) -> None:
        """While there is one: whether it is trusted by now, as one that was signed where it lies. Returns at once."""
        running = self._running
        found = self._look.take()
        if found is not None:
            asked, left = found
            if asked is running.distrusted:  # else an edit came meanwhile, and knows better
                running.distrusted = {name: why for name, why in asked.items() if name in left}
        elif running.distrusted and self._look.is_due(now_s):
            config, asked = running.config, running.distrusted
            self._look.begin(lambda: (asked, self._find(config, asked)), now_s)

    def _find(self, config: Config, names: Collection[str]) -> dict[str, str]:
        found = dict[str, str]()
        for name, runtime in dict(self._running.models).items():
            if name not in names:
                continue
            reason = find_distrust(config, name, runtime.bundle.path)
            if reason is not None:
                found[name] = (
                    f"{runtime.bundle.id} answers until the next start, which does not open it: {reason}"
                )
        return found
