"""The HTTP server before a daemon that only has figures: what the dashboard shows of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_runtime.daemon.health import Health
from edge_runtime.deployment.reports import Reports
from edge_runtime.http.api import build_app
from edge_runtime.http.pictures import PictureService
from edge_runtime.http.server import HttpServer
from edge_runtime.serving.access import Access
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes
from tests.support.still_camera import CAPTURED_AT_S, StillCamera

STATUS: dict[str, Any] = {
    "device": "belt-<b>3",
    "uptime_s": 61.5,
    "models": {
        "parts": {
            "generation": "parts/4+p17",
            "infer_ms": {"p50": 7.8, "p99": 9.5},
            "total_ms": None,
            "streams": {"belt": {"frames": 120, "results": 118, "rejected": {"truncated": 2}}},
            "rollout": {
                "active": 4,
                "candidate": 5,
                "stage": "canary",
                "paused": "by command",
                "promotes_at": "2026-11-24T03:00:00Z",
            },
            "recalibration": {
                "commissioned": True,
                "drift": {"score": 0.31, "threshold": 0.2, "drifted": True, "verdict": "sensor"},
                "accepted": 1,
                "refused": 0,
                "failed": 0,
                "last_report": {
                    "accepted": True,
                    "candidate": "input",
                    "reasons": ["Agreement rose to 0.93."],
                    "report": "parts/p17",
                },
            },
        }
    },
    "cameras": {"belt": {}, "yard": {}, "gate": {}},
    "recording": {
        "by": "anna<b>",
        "cameras": ["belt", "yard"],
        "began_at": "2026-11-23T14:02:11.000Z",
        "frames": 1234,
        "left_out": 12,
    },
    "delivery": {"local": {"enqueued": 118, "delivered": 100, "pending": 18, "dropped": 0, "problem": None}},
}


RESULT = {
    "id": "1",
    "stream": "belt",
    "top": [{"label": "bolt", "score": 0.93}],
    "timings_ms": {"total": 12.0},
}
BOX = {"index": 1, "label": "person", "score": 0.87, "box": [16.0, 30.5, 48.0, 70.5]}
HEAT = {"name": "heat", "value": 81.2346, "unit": "degC", "limits": "above"}
WEAR = {"name": "wear <b>", "value": 0.25, "unit": "mm", "limits": None}
EVENT = {
    "event": "config",
    "at": "2026-11-23T15:20:59.123Z",
    "data": {"accepted": False},
    "text": ["configuration edit refused, the last good one stays", "line 3: threads: 0"],
}


def list_results(camera: StillCamera) -> list[dict[str, Any]]:
    """Every frame that was given has its result; ``yard`` is answered by a detector, ``pump`` by a regression."""
    at = format_rfc3339(CAPTURED_AT_S)
    answers = {
        "belt": {},
        "yard": {"top": None, "detections": [BOX]},
        "pump": {"top": None, "values": [HEAT, WEAR]},
    }
    found = [
        {**RESULT, "stream": stream, "seq": seq, "captured_at": at, **answers[stream]}
        for seq, stream in enumerate(camera.asked, 1)
    ]
    return found[::-1] or [{**RESULT, "seq": 0, "captured_at": at}]


def give_trends(span_s: float, after: int) -> dict[str, Any]:
    """A minute of steps: a drift that rises above the threshold, and what was lost in one step."""
    first, now_s = max(after + 1, 100), 1000.0 + 100 * 5
    steps = 112 - first
    lines = {
        ("results_per_s", "belt"): [5.0] * steps,
        ("latency_p50_ms", None): [8.0] * steps,
        ("latency_p99_ms", None): [12.0] * steps,
        ("drift_score", None): [0.1 * step for step in range(first, 112)],
        ("drift_threshold", None): [1.0] * steps,
        ("lost", "queue full"): [None] * (steps - 1) + [3.0],
    }
    figures = [
        {"name": name, "model": "parts", "part": part, "values": values}
        for (name, part), values in lines.items()
    ]
    mark = {"kind": "alarm", "at": format_rfc3339(now_s), "model": "parts", "text": "drift seen"}
    return {
        "first": first,
        "steps": steps,
        "step_s": 5.0,
        "offset_s": 1000.0,
        "now_s": now_s + 60,
        "figures": figures,
        "marks": [mark],
    }


class Daemon:
    """What the page asks for; it may be restarted on its port, and its status may fail."""

    def __init__(self, folder: Path, camera: StillCamera) -> None:
        self.fails, self.server = False, make_server(self.status, folder, camera, 0)
        self._folder, self._camera = folder, camera

    def status(self) -> dict[str, Any]:
        if self.fails:
            raise OSError("no status today")
        return STATUS

    def start_again(self) -> None:
        self.server = make_server(self.status, self._folder, self._camera, self.server.port)
        self.server.start()


def make_server(
    status: Callable[[], dict[str, Any]], folder: Path, camera: StillCamera, port: int
) -> HttpServer:
    health = Health(live=True, ready=True)
    return HttpServer(
        "127.0.0.1",
        port,
        lambda: build_app(
            status,
            lambda: health,
            lambda _: list_results(camera),
            lambda _: [EVENT],
            lambda: {"parts": Reports(folder)},
            dict,
            dict,
            list,
            Access(),
            Crashes(),
            trends=give_trends,
            log=lambda _: [
                {
                    "level": "error",
                    "text": '{"time":"2026-11-23T15:20:59Z","level":"error","event":"lost","stream":"belt"}',
                },
                {"level": "info", "text": "2026-11-23T15:20:59Z [info     ] ready"},
            ],
            pictures=PictureService(camera, Crashes()),
        ),
        Crashes(),
    )
