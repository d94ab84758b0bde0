"""Samples as Prometheus reads them, by its own parser."""

from math import inf

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_runtime.http.metric_samples import Buckets, Metric, Sample
from edge_runtime.http.prometheus import Exposition

FRAMES = Metric("box_frames", "counter", "Frames.", ("stream",))
READY = Metric("box_ready", "gauge", "1 while ready.")
BUILD = Metric("box_build", "info", "Versions.", ("version",))
TOOK = Metric("box_took_seconds", "histogram", "Time.", ("stream",))


def scrape(*samples: Sample) -> dict[str, dict[tuple[str, ...], float]]:
    """By name, values by the values of their labels."""
    page, content_type = Exposition(lambda: samples).render("")
    assert content_type.startswith("text/plain")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for one in family.samples:
            found.setdefault(one.name, {})[tuple(one.labels.values())] = one.value
    return found


def test_samples_of_one_metric_stand_together_whatever_lies_between() -> None:
    found = scrape(FRAMES.of(3, "belt"), READY.of(True), FRAMES.of(4, 'b"e\\l\nt'))
    assert found[FRAMES.name] == {("belt",): 3.0, ('b"e\\l\nt',): 4.0}
    assert found["box_ready"] == {(): 1.0}


def test_names_have_the_suffix_of_their_kind() -> None:
    assert [one.name for one in (FRAMES, READY, BUILD)] == ["box_frames_total", "box_ready", "box_build_info"]
    assert scrape(BUILD.of(1, "0.2"))["box_build_info"] == {("0.2",): 1.0}


def test_buckets_are_added_up_to_infinity() -> None:
    found = scrape(TOOK.of(Buckets((0.1, 1.0), (2, 1, 4), 9.5), "belt"))
    edges = {float(edge): count for (edge, _), count in found["box_took_seconds_bucket"].items()}
    assert edges == {0.1: 2.0, 1.0: 3.0, inf: 7.0}
    assert found["box_took_seconds_count"] == {("belt",): 7.0}
    assert found["box_took_seconds_sum"] == {("belt",): 9.5}


def test_figures_of_the_process_are_on_the_page() -> None:
    found = scrape()
    assert found["process_cpu_seconds_total"][()] > 0
    assert found["process_resident_memory_bytes"][()] > 0


@pytest.mark.parametrize(
    "accept", ["text/plain;version=x", "application/openmetrics-text; version=1.0.x", ",;=", "a/b;version"]
)
def test_a_form_that_nobody_knows_is_the_usual_one(accept: str) -> None:
    page, content_type = Exposition(lambda: [READY.of(True)]).render(accept)
    assert b"box_ready 1.0" in page
    assert content_type.startswith("text/plain")


def test_a_value_of_another_kind_is_a_bug() -> None:
    with pytest.raises(TypeError):
        scrape(FRAMES.of(Buckets((), (0,), 0.0), "belt"))
