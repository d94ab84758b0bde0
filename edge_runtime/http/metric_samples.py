"""The values that a page of metrics is made of; no library of metrics and no daemon is known here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram", "info"]
_SUFFIXES: dict[Kind, str] = {"counter": "_total", "info": "_info", "gauge": "", "histogram": ""}


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram at one moment."""

    bounds: tuple[float, ...]
    """Upper bounds, growing, without infinity."""
    counts: tuple[int, ...]
    """By bucket, each on its own; one more than bounds, of what lies above all of them."""
    sum: float


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, in base units."""

    base_name: str
    kind: Kind
    text: str
    """What it says, in one sentence."""
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As people query it: ``base_name`` with the suffix of its kind."""
        return self.base_name + _SUFFIXES[self.kind]

    def of(self, value: "float | Buckets", *labels: str) -> "Sample":
        """One value of it, with a label value for each label."""
        assert len(labels) == len(self.labels), self.name
        return Sample(self, labels, value)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric."""

    metric: Metric
    labels: Sequence[str]
    value: float | Buckets
