"""The daemon as metrics: each of the table is there, with the value of its part; what an edit replaces counts on."""

from types import SimpleNamespace

import pytest

from edge_runtime.config import parse_config
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.health import Finding, Weight
from edge_runtime.daemon.metric_table import METRICS
from edge_runtime.daemon.metrics import MetricsReader, _read_findings
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.status import StatusReporter
from edge_runtime.deployment.rollout_policy.stages import Stage
from edge_runtime.http.metric_samples import Buckets
from edge_runtime.http.prometheus import Exposition
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Channel, Delivery
from edge_runtime.messaging.events import DriftAlarm, Event, Recalibrated
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.messaging.outbox.publisher import Publisher
from edge_runtime.serving.request_counts import RequestCounts
from edge_runtime.serving.wrong_tokens import WrongTokens
from edge_runtime.system.supervised_thread import Crashes
from tests.support.controller_bench import ControllerBench
from tests.support.fake_source import FakeSource
from tests.support.pipeline_bench import make_frame
from tests.support.waiting import until
from tools.document.event_examples import FIGURES, PATCHED, a_report

YAML = """
device: box
state_dir: {state}
mqtt: {{host: broker.example, user: me, password: needle-1-x}}
models: {{parts: {{bundle: parts}}}}
cameras: {{belt: {{path: "rtsp://me:needle-2-x@cam/1", model: parts}}}}
sensors: {{pump: {{path: samples.csv, model: parts}}}}
"""


class Bench:
    """A reader over real parts: a pipeline, a controller, a camera, an outbox; no daemon and no broker."""

    def __init__(self, folder):
        self.crashes, self.topics = Crashes(), Topics("edge", "box")
        self.crashes.add("http", 1, is_vital=False)
        self.bench = ControllerBench(folder)
        self.pipeline = self.bench.pipeline
        config = parse_config(YAML.format(state=folder), "test", {})
        self.rollout = SimpleNamespace(stage=(2, Stage.CANARY, True), refused=frozenset({3, 4}))
        runtime = ModelRuntime(
            "parts", SimpleNamespace(id="parts/1"), ThreadPlan(1, 1, "why", (0,)), self.pipeline, (),
            self.bench.controller, rollout=self.rollout,
        )  # fmt: skip
        client = SimpleNamespace(session=None, problem="refused")
        commands = SimpleNamespace(counts={"executed": 2, "refused": 1, "under_way": 3, "forgotten": 0})
        connection = BrokerConnection(self.topics, client, commands, ())
        self.running = Running(config, connection, {"parts": runtime})
        self.outbox = Outbox(folder / "outbox.db", self.crashes)
        publisher = Publisher(self.outbox, SimpleNamespace(problem=None), self.crashes)
        self.delivery = Delivery("box", lambda result: None)
        self.delivery.use_channels(self.topics, (Channel("mqtt", self.outbox, publisher),))
        sources = {"belt": FakeSource("belt", [make_frame(0), make_frame(1)]), "pump": FakeSource("pump", [])}
        self.cameras = Cameras(lambda stream, *_: sources[stream], folder / "streams", self.crashes)
        reporter = StatusReporter(
            self.running,
            self.cameras,
            self.delivery,
            self.crashes,
            certificate=SimpleNamespace(find_end=lambda: 2e9),
        )
        self.requests, self.calls = RequestCounts(), RequestCounts()
        self.reader = MetricsReader(
            self.running,
            self.cameras,
            self.delivery,
            reporter,
            self.crashes,
            self.requests,
            self.calls,
            WrongTokens(),
            lambda: 7,
        )

    def play(self):
        camera = self.running.config.cameras["belt"]
        self.cameras.open("belt", camera, self.pipeline)
        self.cameras.open("pump", self.running.config.sensors["pump"], self.pipeline)
        assert until(self.cameras.are_finished)
        self.pipeline.metrics.stream("belt").note_rejection("truncated")
        while not self.pipeline.is_empty():
            self.pipeline.step(0.0)

    def read(self):
        """Values by name and labels."""
        found = {}
        for sample in self.reader.read():
            key = (sample.metric.name, *sample.labels)
            assert key not in found, "a series twice"
            found[key] = sample.value
        return found

    def close(self):
        self.cameras.stop_all()
        self.outbox.close()


@pytest.fixture
def box(tmp_path):
    box = Bench(tmp_path)
    yield box
    box.close()


def test_every_metric_of_the_table_is_on_the_page_and_no_secret_is(box):
    box.play()
    box.requests.add("/predict", 429)
    box.calls.add("ModelInfer", "OK")
    box.bench.controller.start()
    assert until(lambda: box.bench.controller.status().commissioned)
    found = {key[0] for key in box.read()}
    box.bench.controller.stop(5.0)
    assert found == {metric.name for metric in METRICS}
    page, _ = Exposition(box.reader.read).render("")
    assert b"needle" not in page
    assert b"edge_runtime_request_duration_seconds_bucket" in page


def test_names_follow_the_conventions():
    for metric in METRICS:
        assert metric.name.startswith("edge_runtime_")
        assert not metric.name.endswith(("_ms", "_percent", "_mib", "_total_total"))
        assert metric.name.endswith(("_seconds", "_ratio")) or metric.kind != "histogram"
        assert metric.text.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_frames_are_counted_and_timed_by_what_answered_them(box):
    box.play()
    found = box.read()
    assert found["edge_runtime_frames_total", "parts", "belt"] == 2
    assert found["edge_runtime_results_total", "parts", "belt"] == 2
    assert found["edge_runtime_frames_rejected_total", "parts", "belt", "truncated"] == 1
    assert found["edge_runtime_frames_dropped_total", "parts", "oldest"] == 0
    took = found["edge_runtime_request_duration_seconds", "parts", "1", "none", "active"]
    assert isinstance(took, Buckets)
    assert (sum(took.counts), len(took.counts)) == (2, len(took.bounds) + 1)
    assert found["edge_runtime_camera_frames_total", "belt"] == 2
    assert found["edge_runtime_camera_last_frame_timestamp_seconds", "belt"] > 1.7e9
    assert found["edge_runtime_thread_failures_total", "http"] == 1


def test_what_is_not_followed_is_counted_and_when_the_certificate_ends_is_said(box):
    found = box.read()
    assert found["edge_runtime_objects_skipped_results_total",] == 7
    assert found["edge_runtime_certificate_expiry_timestamp_seconds",] == 2e9


def test_versions_commands_and_delivery_are_those_of_the_parts(box):
    box.delivery.add_event(Event(0.0, DriftAlarm(FIGURES), "parts"))
    found = box.read()
    assert found["edge_runtime_rollout_stage", "parts", "2", "canary"] == 1
    assert (
        found["edge_runtime_rollout_paused", "parts"],
        found["edge_runtime_refused_versions", "parts"],
    ) == (1, 2)
    assert found["edge_runtime_commands_total", "executed"] == 2
    assert ("edge_runtime_commands_total", "under_way") not in found
    assert found["edge_runtime_commands_under_way",] == 3
    assert found["edge_runtime_broker_connected",] == 0
    assert found["edge_runtime_outbox_enqueued_total", "mqtt"] == 1
    assert found["edge_runtime_outbox_dropped_total", "mqtt", "size"] == 0
    box.rollout.stage = None
    assert not any(name == "edge_runtime_rollout_stage" for name, *_ in box.read())


def test_counts_of_events_are_there_from_the_start_and_outlive_the_model_that_made_them(box):
    counted = ("edge_runtime_recalibrations_total", "parts", "accepted")
    assert box.read()[counted] == 0
    box.delivery.add_event(Event(0.0, Recalibrated(a_report(), PATCHED), "parts"))
    runtime = box.running.models["parts"]
    box.running.models["parts"] = ModelRuntime(
        runtime.name, runtime.bundle, runtime.plan, runtime.pipeline, (), runtime.controller
    )
    assert box.read()[counted] == 1


def test_rows_are_counted_since_the_start_whatever_the_file_remembers(tmp_path):
    """After a kill the file may remember less than was scraped, and the difference would look like a reset."""
    first = Outbox(tmp_path / "outbox.db", Crashes())
    first.put("t", b"1")
    first.close()
    again = Outbox(tmp_path / "outbox.db", Crashes())
    channel = Channel("mqtt", again, SimpleNamespace())
    again.put("t", b"2")
    assert (channel.outbox.ledger().enqueued, channel.count_since_start()["enqueued"]) == (2, 1)
    again.close()


def test_of_several_findings_about_a_part_the_gravest_is_a_series():
    findings = (
        Finding("source belt", Weight.UNREADY, "no frame for 9.1 s"),
        Finding("source belt", Weight.NOTE, "the last 5 frames have no result"),
        Finding("disk", Weight.NOTE, "12 MiB free"),
    )
    labels = [tuple(sample.labels) for sample in _read_findings(findings)]
    assert labels == [("source belt", "unready"), ("disk", "note")]
