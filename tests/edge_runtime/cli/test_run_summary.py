import pytest

from edge_runtime.cli.demo.agreement import Agreement
from edge_runtime.cli.run_summary import summarise
from tests.support.event_examples import EXAMPLES

SIDE = {
    "alarms": 1,
    "recalibrations": 2,
    "accepted": 1,
    "refused": 1,
    "failed": 0,
    "rollbacks": 0,
    "task": None,
}


def status(**model):
    return {
        "uptime_s": 60.0,
        "first_result_s": 0.61,
        "models": {
            "photos": {
                "generation": "lite0/1+p1",
                "runs_on": "onnxruntime",
                "dropped_oldest": 2,
                "dropped_stale": 1,
                "swaps": 1,
                "total_ms": {"p50": 10.0, "p99": 20.0, "max": 30.0},
                "infer_ms": None,
                "streams": {"belt": {"frames": 100, "results": 90, "rejected": {"truncated": 4}}},
                "recalibration": SIDE,
                **model,
            }
        },
        "cameras": {"belt": {"model": "photos", "dropped": 5}, "other": {"model": "street", "dropped": 99}},
        "delivery": {"file": {"enqueued": 90, "delivered": 88, "pending": 2, "dropped": 0}},
    }


def summary(events=(), agreements=(), **model):
    return summarise(status(**model), list(events), agreements)


def test_accounts_for_every_frame():
    text = summary()
    assert "frames 100   results 90   rejected 4   dropped because late 8   lost 3" in text
    assert "first result after 0.61 s" in text
    assert "p50 10.0 ms, p99 20.0 ms, max 30.0 ms" in text
    assert "drift alarms 1   recalibrations 2 (accepted 1, refused 1, failed 0)   hot swaps 1" in text
    assert "delivery to file: accepted 90, delivered 88, waiting 2, lost 0" in text


def test_names_a_camera_that_never_gave_a_picture():
    found = status()
    found["cameras"]["gate"] = {"model": "photos", "dropped": 0, "problem": "/x does not exist"}
    found["cameras"]["belt"]["problem"] = "was away for a while"
    text = summarise(found, [], [])
    assert "  camera gate gave no picture: /x does not exist" in text
    assert "nothing to report" not in text
    assert "belt gave no" not in text


def test_says_what_was_under_way_when_the_time_was_up():
    assert "not finished" not in summary()
    side = {**SIDE, "phase": "working", "task": "recalibrate (drift alarm)"}
    assert "not finished when the time was up: recalibrate (drift alarm), working" in summary(
        recalibration=side
    )


def test_says_when_there_was_no_result_and_no_event():
    facts = status(streams={}, total_ms=None, recalibration=None)
    text = summarise({**facts, "first_result_s": None}, [], [])
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
