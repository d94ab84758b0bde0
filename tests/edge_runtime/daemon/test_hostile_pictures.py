"""A stream whose sender is a stranger: what no parser foresaw is a counted rejection, and the good pictures go on."""

import random
import threading

import cv2
import numpy as np
import pytest
import structlog

from edge_runtime.config import CameraConfig
from edge_runtime.daemon.workers import StreamWorker
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.sources.mqtt_images import MqttImagesSource
from edge_runtime.sources.reopen import Backoff
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes
from tests.support.pipeline_bench import SPEC, make_pipeline
from tests.support.waiting import WAIT_S, until

GOOD = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
HOSTILE = [
    b"\x93NUMPY\x01\x00\x10\x00{1: 2, 'a': 3}  ",
    b"\x93NUMPY\x01\x00\x08\x00{[]: 1} ",
    b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535,
    b"P5 999999999 999999999 255\n",
    b"II*\x00\xff\xff\xff\xff",
    b"\xff\xd8\xff\xc0\x00\x02\xff\xda\x00\x02",
    b"RIFF\xff\xff\xff\xffWEBP",
    b"BM" + b"\xff" * 60,
    b"{" * 5000,
    b"",
]


@pytest.fixture
def crashes() -> Crashes:
    return Crashes()


def test_good_pictures_are_answered_between_hostile_ones(tmp_path, crashes):
    pipeline, _, _ = make_pipeline(queue_limit=1000)
    source = MqttImagesSource("belt", capacity=1000)
    for hostile in HOSTILE:
        for payload in (GOOD, hostile, GOOD):
            source.offer(payload, 0.0)
    opened = []
    worker = StreamWorker(
        "belt", CameraConfig(path="mqtt", model="parts"), lambda _: opened.append(1) or source, pipeline, crashes,
        Backoff(random.Random(0)), SequenceNumbers(tmp_path / "belt.seq"),
    )  # fmt: skip
    worker.thread.start()
    until(lambda: pipeline.metrics.stream("belt").frames == 3 * len(HOSTILE))
    source.close()
    assert worker.thread.join(WAIT_S)
    assert sum(pipeline.metrics.stream("belt").rejected.values()) == len(HOSTILE)
    assert (opened, crashes.total) == ([1], 0)


def test_an_exception_that_no_parser_foresaw_is_counted_by_type_and_logged_once(monkeypatch, crashes):
    def fail(_):
        raise OverflowError("too large")

    monkeypatch.setattr("edge_runtime.inference.preprocess.decode.read_header", fail)
    pipeline, _, _ = make_pipeline()
    pipeline.preprocessor = PicturePreprocessor(
        SPEC, note_failure=lambda err: crashes.note_once(f"picture-{type(err).__name__}")
    )
    source = MqttImagesSource("belt")
    with structlog.testing.capture_logs() as logged:
        for _ in range(5):
            source.offer(GOOD, 0.0)
            frame = source.read(0)
            assert frame is not None
            pipeline.accept(frame, is_live=True, stop=threading.Event())
    assert crashes.by_thread() == {"picture-OverflowError": 5}
    assert len([line for line in logged if line["event"] == "unexpected failure"]) == 1
    assert pipeline.metrics.stream("belt").rejected == {"unreadable": 5}
