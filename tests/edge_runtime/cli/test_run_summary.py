from dataclasses import replace

import orjson
import pytest

from edge_runtime.cli.demo.agreement import Agreement
from edge_runtime.cli.run_summary import summarise, summarise_as_json
from edge_runtime.daemon.cameras import CameraStatus
from edge_runtime.daemon.health import Health
from edge_runtime.daemon.model_runtime import ModelStatus, StreamStatus, ThreadStatus
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.inference.metrics import Percentiles
from edge_runtime.messaging.delivery import ChannelStatus
from edge_runtime.recalibration.reference.live_reference_set import ReservoirStatus
from edge_runtime.recalibration.status import ControllerStatus
from tests.support.fake_engine import LIBRARY
from tools.document.event_examples import EXAMPLES

SIDE = ControllerStatus(
    phase="idle",
    task=None,
    progress=None,
    commissioned=True,
    generation="lite0/1+p1",
    previous="lite0/1",
    autonomy="auto",
    proposal=None,
    shadow=None,
    drift=None,
    baselines={},
    corrected_by=None,
    concern=None,
    reservoir=ReservoirStatus(0, 0, 0.0, 0, "off", 0, 0, 0, {}, None, {}),
    skipped=0,
    not_possible={},
    sampled=0,
    recalibrations=2,
    accepted=1,
    refused=1,
    failed=0,
    alarms=1,
    rollbacks=0,
    last_report=None,
)
MODEL = ModelStatus(
    bundle="lite0/1",
    generation="lite0/1+p1",
    runs_on="onnxruntime",
    engine=LIBRARY,
    notes=(),
    threads=ThreadStatus(1, 1, "why", (), None),
    batches=90,
    last_inference_at=None,
    mean_batch=1.0,
    infer_ms=None,
    total_ms=Percentiles(10.0, 15.0, 20.0, 30.0),
    dropped_oldest=2,
    dropped_stale=1,
    engine_errors=0,
    lost_to_errors=0,
    swaps=1,
    streams={"belt": StreamStatus(100, 90, {"truncated": 4})},
    recalibration=SIDE,
    answers=(),
    rollout=None,
)


def camera(model, dropped, problem=None):
    return CameraStatus(model, "path", False, problem, 0, dropped, 0, None)


def status(**model):
    return DaemonStatus(
        device="box",
        versions={},
        uptime_s=60.0,
        memory=None,
        recording=None,
        first_result_s=0.61,
        health=Health(live=True, ready=True),
        safe_mode=False,
        models={"photos": replace(MODEL, **model)},
        cameras={"belt": camera("photos", 5), "other": camera("street", 99)},
        delivery={"file": ChannelStatus(90, 88, 0, 2, 200, 0, durable=True, problem=None)},
        broker=None,
        config=None,
        config_problem=None,
        worker_failures=0,
        failures_by_thread={},
    )


def summary(events=(), agreements=(), **model):
    return summarise(status(**model), list(events), agreements)


def test_accounts_for_every_frame():
    text = summary()
    assert "frames 100   results 90   rejected 4   dropped because late 8   lost 3" in text
    assert "first result after 0.61 s" in text
    assert "p50 10.0 ms, p99 20.0 ms, max 30.0 ms" in text
    assert "drift alarms 1   recalibrations 2 (accepted 1, refused 1, failed 0)   hot swaps 1" in text
    assert "delivery to file: accepted 90, delivered 88, waiting 2, lost 0" in text


def test_the_same_for_machines():
    facts = [(1.23456, fact) for fact, _, _ in EXAMPLES.values()]
    found = orjson.loads(summarise_as_json(status(), facts, [Agreement("belt", 9, 0.5, 0, None, None)]))
    assert [one["event"] for one in found["events"]] == [fact.kind for fact, _, _ in EXAMPLES.values()]
    assert found["events"][0]["after_s"] == 1.235
    assert found["status"]["models"]["photos"]["swaps"] == 1
    assert found["agreements"][0]["before"] == 0.5


def test_names_a_camera_that_never_gave_a_picture():
    cameras = {
        "gate": camera("photos", 0, "/x does not exist"),
        "belt": camera("photos", 5, "was away for a while"),
    }
    text = summarise(replace(status(), cameras=cameras), [], [])
    assert "  camera gate gave no picture: /x does not exist" in text
    assert "nothing to report" not in text
    assert "belt gave no" not in text


def test_says_what_was_under_way_when_the_time_was_up():
    assert "not finished" not in summary()
    side = replace(SIDE, phase="working", task="recalibrate (drift alarm)")
    assert "not finished when the time was up: recalibrate (drift alarm), working" in summary(
        recalibration=side
    )


def test_says_when_there_was_no_result_and_no_event():
    facts = status(streams={}, total_ms=None, recalibration=None)
    text = summarise(replace(facts, first_result_s=None), [], [])
    assert "first result after never" in text
    assert "nothing to report" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("commissioned", "baseline day recorded from 96 healthy frames (50 taps)"),
        ("baseline changed", "nearer to the baseline night now than to day"),
        ("patches paused", "baseline: it has expired"),
        ("drift", "score 1.62, threshold 1 (sensor)"),
        ("recalibration refused", "in doubt"),
        ("recalibrated", "recalibrated in 12.3 s: input; active is parts/1+p1"),
        ("recalibration failed", "recalibration failed: killed"),
        ("rolled back", "rolled back from parts/1+p1 to parts/1: command"),
    ],
)
def test_tells_what_happened(name, words):
    text = summary([(12.34, EXAMPLES[name][0])])
    assert words in text
    assert "12.3 s  " in text


def test_shows_whether_the_patch_helped():
    text = summary(agreements=[Agreement("belt", 40, 0.5, 60, 0.9, 0.55)])
    assert "before recalibration:  50.0% of 40 frames" in text
    assert "after recalibration:   90.0% of 60 frames" in text
    assert "without the patch: 55.0%" in text


def test_says_when_no_drifted_frame_was_answered():
    assert "no drifted frames" in summary(agreements=[Agreement("belt", 0, None, 0, None, None)])
