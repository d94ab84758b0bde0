"""Samples in the text format of Prometheus, or of OpenMetrics for who asks for it. The only user of prometheus_client.

Imported at the first scrape. Nothing is kept between scrapes and no thread runs.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from edge_runtime.http.metric_samples import Buckets, Metric, Sample

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily | InfoMetricFamily


class Exposition:
    """The page of metrics, read anew at each scrape."""

    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Samples(read))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page and its content type, as the header ``Accept`` wants it."""
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # the library compares a version that is no numbers with numbers
            encode, content_type = choose_encoder("")
        return encode(self._registry), content_type


class _Samples(Collector):
    def __init__(self, read: Callable[[], Iterable[Sample]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        """Samples of one metric stand together, in the order of their first one."""
        families: dict[Metric, Family] = {}
        for sample in self._read():
            family = families.get(sample.metric)
            if family is None:
                family = families[sample.metric] = _make_family(sample.metric)
            _add(family, sample)
        yield from families.values()


def _make_family(metric: Metric) -> Family:
    name, text = metric.base_name, metric.text
    match metric.kind:
        case "counter":
            return CounterMetricFamily(name, text, labels=metric.labels)
        case "gauge":
            return GaugeMetricFamily(name, text, labels=metric.labels)
        case "histogram":
            return HistogramMetricFamily(name, text, labels=metric.labels)
        case "info":
            return InfoMetricFamily(name, text)


def _add(family: Family, sample: Sample) -> None:
    value, labels = sample.value, list(sample.labels)
    match family, value:
        case HistogramMetricFamily(), Buckets(bounds, counts, total):
            edges = [*map(str, bounds), "+Inf"]
            family.add_metric(labels, list(zip(edges, accumulate(counts), strict=True)), total)
        case InfoMetricFamily(), _:
            family.add_metric([], dict(zip(sample.metric.labels, labels, strict=True)))
        case ((CounterMetricFamily() | GaugeMetricFamily()), (int() | float())):
            family.add_metric(labels, value)
        case _:
            raise TypeError(f"{sample.metric.name}: {value!r} is no value of a {sample.metric.kind}")
