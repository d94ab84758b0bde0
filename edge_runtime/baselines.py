"""The baselines of one model at work: what was commissioned, and the drift watch that compares live frames with it.

Moves finished baselines into the state directory and opens the watch on them. Whether to record one and what a drift
leads to is the side loop's business (``recalibration``), which owns this and calls it from its one thread.
"""

from collections.abc import Callable
from pathlib import Path

from edge_runtime.config import DriftConfig
from edge_runtime.drift_watch import DriftWatch
from edge_runtime.registry import Registry


class Baselines:
    """What the site looks like when it is healthy."""

    def __init__(
        self,
        registry: Registry,
        open_watch: Callable[[Registry, DriftConfig], DriftWatch | None],
        drift: DriftConfig,
    ) -> None:
        self._registry, self._open_watch = registry, open_watch
        self.watch = open_watch(registry, drift)
        """None while nothing usable was commissioned."""

    @property
    def in_use(self) -> Path:
        """The baseline that patches are made from."""
        return self._registry.baseline

    def reopen(self, drift: DriftConfig) -> None:
        """Watch anew, with other settings or another baseline."""
        self.close()
        self.watch = self._open_watch(self._registry, drift)

    def take(self, folder: Path, drift: DriftConfig) -> None:
        """Put a commissioning job's baseline in place and watch by it.

        Raises:
            OSError: the disk refuses.
        """
        (folder / "probe.onnx").replace(self._registry.probe)
        (folder / "baseline.safetensors").replace(self._registry.baseline)
        self.reopen(drift)

    def close(self) -> None:
        """Free the watch."""
        if self.watch is not None:
            self.watch.close()
