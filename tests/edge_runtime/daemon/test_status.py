"""The status keeps the names that programs read, and its JSON is complete."""

from types import SimpleNamespace

import orjson
import pytest

from edge_runtime.config import parse_config
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.status import StatusReporter
from edge_runtime.daemon.wiring.messaging import make_command_handlers
from edge_runtime.errors import SourceLost
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.metrics import PipelineMetrics
from edge_runtime.inference.scheduler import SchedulerCounters
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import ChannelStatus, Delivery
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.events import ConfigRefused, Event
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_engine import FakeEngine

YAML = """
device: box
state_dir: {state}
models: {{parts: {{bundle: parts}}}}
cameras: {{belt: {{path: "rtsp://me:secret@cam/1", model: parts, priority: high}}}}
"""

# As served since 16cd0a8; ``failures_by_thread``, ``broker.commands``, ``broker.uploads``, ``safe_mode``,
# ``recording``, ``versions``, ``memory``, ``engine`` and ``last_inference_at`` are new.
KEYS = {
    "": "device versions uptime_s memory first_result_s health safe_mode models cameras delivery recording broker "
    "config config_problem worker_failures failures_by_thread",
    "health": "live ready reasons",
    "models.parts": "bundle generation runs_on engine notes threads batches last_inference_at mean_batch infer_ms "
    "total_ms dropped_oldest dropped_stale engine_errors lost_to_errors swaps streams answers recalibration rollout",
    "memory": "resident_bytes peak_bytes",
    "models.parts.engine": "name version devices",
    "models.parts.threads": "intra workers why planned_cpus bound_to",
    "models.parts.streams.belt": "frames results rejected",
    "models.parts.total_ms": "p50 p90 p99 max",
    "cameras.belt": "model path finished problem captured dropped restarts priority decoding samples",
    "delivery.file": "enqueued delivered dropped pending pending_bytes repeated durable problem "
    "is_ready stalled_s dropped_by set_aside damage",
    "broker": "connected problem commands command_log uploads",
}


def open_source(*_):
    raise SourceLost("belt", "unplugged")


@pytest.fixture
def delivery():
    delivery = Delivery("box", lambda result: None)
    status = ChannelStatus(3, 1, 0, 2, 200, 0, durable=True, problem=None)
    channel = SimpleNamespace(
        name="file", status=lambda: status, outbox=SimpleNamespace(put=lambda topic, payload: True)
    )
    delivery.use_channels(Topics("edge", "box"), (channel,))
    return delivery


@pytest.fixture
def reporter(tmp_path, delivery):
    metrics = PipelineMetrics()
    metrics.total_ms.add(7.5)
    metrics.stream("belt").rejected["truncated"] += 1
    slot = SimpleNamespace(generation="parts/1+p2", engine=FakeEngine(), swaps=1, failures_in_a_row=0)
    pipeline = SimpleNamespace(
        metrics=metrics,
        slot=slot,
        scheduler=SimpleNamespace(counters=SchedulerCounters()),
        due_since_s=lambda: None,
    )
    runtime = ModelRuntime(
        "parts", SimpleNamespace(id="parts/1"), ThreadPlan(1, 1, "why", (0,)), pipeline, (), None, ("a note",)
    )
    client = SimpleNamespace(session=None, problem="refused")
    config = parse_config(YAML.format(state=tmp_path), "test", {})
    running = Running(
        config,
        BrokerConnection(Topics("edge", "box"), client, SimpleNamespace(counts={"executed": 2}), ()),
        {"parts": runtime},
    )
    crashes = Crashes()
    crashes.add("http", 1, is_vital=False)
    cameras = Cameras(open_source, tmp_path / "streams", crashes)
    cameras.open("belt", config.cameras["belt"], pipeline)
    yield StatusReporter(running, cameras, delivery, crashes, lambda: {"head": "00", "unwritten": 0})
    cameras.stop_all()


@pytest.mark.parametrize("path", KEYS)
def test_the_names_of_the_status_stay(reporter, path):
    values = orjson.loads(encode_object(reporter.status()))
    for name in filter(None, path.split(".")):
        values = values[name]
    assert " ".join(values) == KEYS[path]


def test_the_values_are_those_of_the_parts(reporter):
    status = orjson.loads(encode_object(reporter.status()))
    assert status["device"] == "box"
    assert status["first_result_s"] is None
    assert status["models"]["parts"]["notes"] == ["a note"]
    assert status["models"]["parts"]["streams"]["belt"]["rejected"] == {"truncated": 1}
    assert status["models"]["parts"]["recalibration"] is None
    belt = status["cameras"]["belt"]
    assert (belt["path"], belt["priority"]) == ("rtsp://***@cam/1", "high")
    assert (belt["captured"], belt["dropped"]) == (0, 0)
    assert status["broker"] == {
        "connected": False,
        "problem": "refused",
        "commands": {"executed": 2},
        "command_log": {"head": "00", "unwritten": 0},
        "uploads": {},
    }
    assert (status["worker_failures"], status["failures_by_thread"]) == (1, {"http": 1})
    assert not status["health"]["ready"]


def test_the_command_answers_as_http_serves(reporter, monkeypatch):
    status = reporter.status()
    monkeypatch.setattr(reporter, "status", lambda: status)
    answer = make_command_handlers(reporter._running, reporter, list, None, None, None)["status"](None)
    assert encode_object(answer) == encode_object(status)


def test_without_a_broker_its_status_is_null(reporter):
    reporter._running.connection = BrokerConnection(Topics("edge", "box"), None, None, ())
    assert reporter.status().broker is None


def test_the_retained_state_names_the_generations(reporter):
    state = orjson.loads(reporter.state(reporter.health()))
    assert state["models"] == {"parts": "parts/1+p2"}
    assert set(state) == {"health", "models"}


def test_history_counts_from_the_start(reporter, delivery):
    refused = ConfigRefused(("line 3",))
    delivery.add_event(Event(reporter._started_at_wall_s + 2.5, refused))
    assert reporter.history() == [(2.5, refused)]
