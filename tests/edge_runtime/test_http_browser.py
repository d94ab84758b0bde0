"""The dashboard in a real browser: that its policy lets its own script run, and what a person then reads."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.health import Health
from edge_runtime.http.api import build_app
from edge_runtime.http.server import HttpServer

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
STATUS: dict[str, Any] = {
    "device": "belt-<b>3",
    "uptime_s": 61.5,
    "models": {
        "parts": {
            "generation": "parts/4+p17",
            "infer_ms": {"p50": 7.8, "p99": 9.5},
            "total_ms": None,
            "streams": {"belt": {"frames": 120, "results": 118, "rejected": {"truncated": 2}}},
            "recalibration": {
                "commissioned": True,
                "drift": {"score": 0.31, "threshold": 0.2, "alarm": True, "verdict": "sensor"},
                "accepted": 1,
                "refused": 0,
                "failed": 0,
                "last_report": {
                    "accepted": True,
                    "candidate": "input",
                    "reasons": ["Agreement rose to 0.93."],
                },
            },
        }
    },
    "delivery": {"local": {"enqueued": 118, "delivered": 100, "pending": 18, "dropped": 0, "problem": None}},
}


RESULT = {
    "id": "1",
    "stream": "belt",
    "top": [{"label": "bolt", "score": 0.93}],
    "timings_ms": {"total": 12.0},
}
EVENT = {"event": "drift", "at": "2026-11-23T15:20:59.123Z", "data": {"score": 0.31, "verdict": "sensor"}}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    health = Health(live=True, ready=True)
    server = HttpServer(
        "127.0.0.1",
        0,
        lambda: build_app(
            lambda: STATUS, lambda: health, lambda _: [RESULT], recent_events=lambda _: [EVENT]
        ),
    )
    server.start()
    yield server
    server.stop()


@pytest.mark.skipif(BROWSER is None, reason="no browser on this machine: apt-get install -y chromium")
def test_the_page_shows_the_daemon_in_a_real_browser(server: HttpServer, tmp_path: Path) -> None:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--virtual-time-budget=3500", "--dump-dom", f"http://127.0.0.1:{server.port}/"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    text = page.split("<script>")[0]
    for words in (
        "belt-&lt;b&gt;3",
        "parts/4+p17",
        "bolt",
        "drifted: sensor",
        "Agreement rose to 0.93.",
        "18",
        "ready",
    ):
        assert words in text, words
    assert "15:20:59" in text
