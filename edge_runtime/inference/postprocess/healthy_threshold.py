"""The threshold of an anomaly that comes from scores of the healthy site: one thread draws it, any may read it."""

from collections.abc import Iterable

from edge_runtime.inference.postprocess.numbers import draw_threshold
from edge_runtime.inference.specs import AnomalySpec, PostprocessSpec


def needs_healthy_scores(spec: PostprocessSpec) -> bool:
    """Whether the threshold comes from the site, and not from the bundle."""
    return isinstance(spec, AnomalySpec) and spec.threshold is None


class HealthyThreshold:
    """The one of a model; None as long as no healthy score is known, and for a model that needs none."""

    def __init__(self, spec: PostprocessSpec) -> None:
        self._spec = spec
        self._threshold: float | None = None

    def draw(self, healthy: Iterable[float]) -> None:
        """Use the threshold of these scores from now on."""
        if isinstance(self._spec, AnomalySpec):
            self._threshold = draw_threshold(self._spec, healthy)

    def read(self) -> float | None:
        """The threshold of now."""
        return self._threshold
