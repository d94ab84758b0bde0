"""What a page of metrics says, by the parser of prometheus_client."""

from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

Counts = dict[tuple[str, ...], float]


def read_counts(page: str) -> Counts:
    """Everything that may only grow, counters and the parts of histograms, by name and labels."""
    return {
        (one.name, *(f"{name}={value}" for name, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(page)
        if family.type in ("counter", "histogram")
        for one in family.samples
    }


def find_falls(pages: list[Counts]) -> dict[tuple[str, ...], tuple[float, float]]:
    """Counts that fell from one page to the next, or are gone."""
    return {
        key: (value, after.get(key, float("nan")))
        for before, after in pairwise(pages)
        for key, value in before.items()
        if not after.get(key, -1.0) >= value
    }
