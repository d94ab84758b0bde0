"""The figures of a daemon over time, sampled from real parts: a pipeline, a controller, an outbox."""

import time
from types import SimpleNamespace

import pytest

from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.trend_ring import LEVELS
from edge_runtime.daemon.trends import MOST_MARKS, Trends, classify_mark
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.metrics import Latency
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import DriftAlarm, Event, HealthChanged, Recalibrated, RolledBack
from edge_runtime.system.supervised_thread import Crashes
from tests.support.controller_bench import ControllerBench
from tools.document.event_examples import BASE, EXAMPLES, FIGURES, PATCHED, a_report

pytestmark = pytest.mark.integration
STEP_S = LEVELS[0].step_s


class Bench:
    def __init__(self, folder):
        bench = ControllerBench(folder)
        self.metrics, self.counters = bench.pipeline.metrics, bench.pipeline.scheduler.counters
        runtime = ModelRuntime(
            "parts", SimpleNamespace(id="parts/1"), ThreadPlan(1, 1, "why", (0,)), bench.pipeline, (), bench.controller
        )  # fmt: skip
        self.models = {"parts": runtime}
        self.running = SimpleNamespace(models=self.models)
        self.delivery = Delivery("box", lambda result: None)
        self.dropped = 0
        cameras = SimpleNamespace(counts=lambda: {"belt": SimpleNamespace(dropped=self.dropped)})
        self.crashes = Crashes()
        self.trends = Trends(self.running, cameras, self.delivery, self.crashes)
        self.now_s = time.monotonic() - 100 * STEP_S
        self.trends.tick(self.now_s)

    def tick(self):
        self.now_s += STEP_S
        self.trends.tick(self.now_s)

    def read(self, name):
        found = self.trends.read(3600.0, 0)["figures"]
        return {(one["model"], one["part"]): list(one["values"]) for one in found if one["name"] == name}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_what_cannot_be_sampled_ends_no_daemon_and_the_rest_goes_on(bench):
    runtime = bench.models["parts"]
    bench.models["parts"] = object()
    bench.tick()
    assert bench.crashes.by_thread() == {"trends": 1}
    bench.models["parts"] = runtime
    belt = bench.metrics.stream("belt")
    bench.tick()
    belt.results += 50
    bench.tick()
    assert bench.read("results_per_s")["parts", "belt"][-1] == 10.0
    assert bench.crashes.total == 1


def test_rates_and_latencies_are_those_of_each_step(bench):
    belt = bench.metrics.stream("belt")
    bench.tick()
    for results, latency_ms in ((50, 8.0), (100, 4.0)):
        belt.results += results
        for _ in range(results):
            bench.metrics.total_ms.add(latency_ms)
        bench.tick()
    assert bench.read("results_per_s")["parts", "belt"][-2:] == [10.0, 20.0]
    assert bench.read("latency_p50_ms")["parts", None][-2:] == [8.0, 4.0]
    assert bench.read("latency_p99_ms")["parts", None][-2:] == [8.0, 4.0]


def test_what_was_lost_is_counted_by_reason(bench):
    bench.tick()
    bench.counters.dropped_oldest += 3
    bench.metrics.stream("belt").note_rejection("truncated")
    bench.metrics.stream("yard").note_rejection("truncated")
    bench.dropped += 7
    bench.tick()
    lost = {key: values[-1] for key, values in bench.read("lost").items()}
    assert lost == {
        ("parts", "queue full"): 3,
        ("parts", "rejected: truncated"): 2,
        (None, "dropped at the source"): 7,
    }


def test_a_model_that_is_opened_anew_counts_from_its_own_begin(bench):
    belt = bench.metrics.stream("belt")
    belt.results = 500
    bench.tick()
    bench.metrics.streams.clear()
    bench.metrics.total_ms = Latency()
    bench.metrics.total_ms.add(5.0)
    bench.metrics.stream("belt").results = 5
    bench.tick()
    assert bench.read("results_per_s")["parts", "belt"][-1] == 0  # never below
    assert bench.read("latency_p50_ms")["parts", None][-1] == 5.0


def test_moments_are_marked_once_with_their_words(bench):
    at = time.time()
    for fact in (
        DriftAlarm(FIGURES),
        HealthChanged("broker", "note", "away"),
        Recalibrated(a_report(), PATCHED),
    ):
        bench.delivery.add_event(Event(at, fact, "parts"))
        bench.tick()
    bench.delivery.add_event(Event(at - 7200, RolledBack(PATCHED, BASE, "by command"), "parts"))
    bench.tick()
    marks = bench.trends.read(3600.0, 0)["marks"]
    assert [(one["kind"], one["model"]) for one in marks] == [("alarm", "parts"), ("recalibrated", "parts")]
    assert all(one["text"] for one in marks)
    assert [one["kind"] for one in bench.trends.read(86400.0, 0)["marks"]][-1] == "rollback"


def test_every_kind_of_event_is_marked_or_not():
    kinds = {classify_mark(fact) for fact, *_ in EXAMPLES.values()}
    assert kinds == {None, "alarm", "recalibrated", "refused", "proposed", "promoted", "rollback"}


def test_marks_are_bounded(bench):
    for _ in range(3):
        for _ in range(MOST_MARKS):
            bench.delivery.add_event(Event(time.time(), DriftAlarm(FIGURES), "parts"))
        bench.tick()
    assert len(bench.trends.read(3600.0, 0)["marks"]) == MOST_MARKS


def test_several_ticks_in_a_step_sample_once(bench):
    bench.tick()
    before = bench.trends.read(3600.0, 0)
    bench.now_s = (bench.now_s // STEP_S + 1) * STEP_S - 0.01
    bench.trends.tick(bench.now_s)
    assert bench.trends.read(3600.0, 0)["first"] == before["first"]
