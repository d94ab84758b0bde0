"""Traces arrive at a collector as OTLP, so many a second at most; one that takes nothing is told of once."""

import numpy as np
import pytest
from structlog.testing import capture_logs

from edge_runtime.config import parse_config
from edge_runtime.config.telemetry import TelemetryConfig
from edge_runtime.daemon import frame_traces
from edge_runtime.daemon.frame_traces import MOST_SPANS, FrameTraces
from edge_runtime.datatypes import Result, Sample, Timings
from edge_runtime.errors import ConfigError
from edge_runtime.inference.scheduler import Queued
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.waiting import until

pytestmark = pytest.mark.integration

CAPTURED_S, WALL_S = 50.0, 1_795_448_459.0


class Clock:
    now_s = CAPTURED_S + 0.05

    def __call__(self):
        return self.now_s


@pytest.fixture
def receiver():
    with OtlpReceiver() as receiver:
        yield receiver


def note(traces, seq, model="parts"):
    sample = Sample(
        "belt", seq, np.zeros((3, 2, 2), np.float32), None, None, CAPTURED_S, WALL_S,
        prepared_at_s=CAPTURED_S + 0.02, decode_ms=5.0, prepare_ms=10.0,
    )  # fmt: skip
    timings = Timings(decode=5.0, prepare=10.0, queue=1.0, infer=8.0, total=40.0)
    result = Result("box", "belt", seq, WALL_S, model, "parts/1+p2", timings)
    traces.note_frame(Queued(sample, True, CAPTURED_S + 0.021), result)


def test_a_frame_is_one_trace_with_its_steps_and_names(receiver):
    traces = FrameTraces(TelemetryConfig(otlp=receiver.url), "box", Clock())
    note(traces, 7)
    traces.close()
    [whole] = [span for span in receiver.spans if not span.parent]
    steps = receiver.children_of(whole)
    assert [step.name for step in steps] == [
        "capture", "decode", "prepare", "queue", "infer", "postprocess", "publish"
    ]  # fmt: skip
    assert (whole.start_ns, whole.end_ns) == (round(WALL_S * 1e9), pytest.approx((WALL_S + 0.05) * 1e9))
    for span in (whole, *steps):
        assert span.attributes == {
            "frame.id": "box/belt/000000007", "frame.stream": "belt", "model.name": "parts",
            "model.generation": "parts/1+p2", "model.arm": "active",
        }  # fmt: skip
    assert whole.resource["service.name"] == "edge-runtime"


def test_of_each_model_so_many_a_second_are_traced_and_no_more(receiver):
    clock = Clock()
    traces = FrameTraces(TelemetryConfig(otlp=receiver.url, traces_per_s=2), "box", clock)
    for seq in range(100):
        clock.now_s = CAPTURED_S + 0.05 + seq / 20  # 5 s at 20 frames/s
        note(traces, seq)
        note(traces, seq, "others")
    traces.close()
    models = [span.attributes["model.name"] for span in receiver.spans if not span.parent]
    assert (models.count("parts"), models.count("others")) == (10, 10)


def test_a_collector_that_refuses_is_said_once_and_ends_nothing(receiver):
    receiver.status = 400
    with capture_logs() as logs:
        clock = Clock()
        traces = FrameTraces(TelemetryConfig(otlp=receiver.url), "box", clock)
        note(traces, 1)
        assert until(lambda: receiver.refused)
        clock.now_s += 1
        note(traces, 2)
        traces.close()
    assert (receiver.spans, receiver.refused >= 1) == ([], True)
    assert [one["log_level"] for one in logs] == ["warning"]


def test_a_stop_does_not_wait_for_a_silent_collector_again_and_again(receiver, monkeypatch):
    monkeypatch.setattr(frame_traces, "SEND_TIMEOUT_S", 0.3)
    receiver.may_answer.clear()
    clock = Clock()
    traces = FrameTraces(TelemetryConfig(otlp=receiver.url), "box", clock)
    for seq in range(MOST_SPANS // 8 + 1):
        clock.now_s += 1
        note(traces, seq)
    before = receiver.asked
    traces.close()
    assert receiver.asked - before <= 1
    receiver.may_answer.set()


@pytest.mark.parametrize(
    "address",
    [
        "collector:4318",
        "ftp://collector",
        "http://me:needle@collector:4318",
        "http://c/?key=needle",
        "http://",
    ],
)
def test_an_address_that_is_none_or_has_a_secret_is_refused_without_saying_it(address):
    text = (
        "device: d\nmodels: {parts: {bundle: p}}\ncameras: {c: {path: pictures, model: parts}}\n"
        f"telemetry: {{otlp: '{address}'}}\n"
    )
    with pytest.raises(ConfigError) as refused:
        parse_config(text, "test", {}, check_files=False)
    assert refused.value.problems[0].where == "telemetry.otlp"
    assert "needle" not in str(refused.value)
