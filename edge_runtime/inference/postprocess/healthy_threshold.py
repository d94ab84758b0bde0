"""The threshold of an anomaly that comes from scores of the healthy site: one thread draws it, any may read it."""

from collections.abc import Iterable

import structlog

from edge_runtime.inference.postprocess.numbers import count_strays, draw_threshold
from edge_runtime.inference.specs import AnomalySpec, PostprocessSpec

log = structlog.get_logger()


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
        if not isinstance(self._spec, AnomalySpec):
            return
        scores = tuple(healthy)
        self._threshold = draw_threshold(self._spec, scores)
        strays = count_strays(scores)
        if strays:
            log.warning(
                "some windows of the baseline were no healthy ones by their scores: left out of the threshold",
                windows=strays,
                of=len(scores),
                highest=max(scores),
                threshold=self._threshold,
            )

    def read(self) -> float | None:
        """The threshold of now."""
        return self._threshold
