"""The dashboard in a real browser: that its policy lets its own script run, and what a person then reads."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import Baseline, FrameCounts, Moments, Verdict
from calibration.report.data import Material
from calibration.report.page import Setting, page
from calibration.report.thumbnails import PictureScale, strips
from calibration.stats.moments import moments_of_frames
from edge_runtime.daemon.health import Health
from edge_runtime.deployment.reports import Reports
from edge_runtime.http.access import Access
from edge_runtime.http.api import build_app
from edge_runtime.http.pictures import PictureService
from edge_runtime.http.server import HttpServer
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes
from tests.support.programs import find_program
from tests.support.still_camera import CAPTURED_AT_S, HEIGHT, WIDTH, StillCamera
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

STATUS: dict[str, Any] = {
    "device": "belt-<b>3",
    "uptime_s": 61.5,
    "models": {
        "parts": {
            "generation": "parts/4+p17",
            "infer_ms": {"p50": 7.8, "p99": 9.5},
            "total_ms": None,
            "streams": {"belt": {"frames": 120, "results": 118, "rejected": {"truncated": 2}}},
            "rollout": {"active": 4, "candidate": 5, "stage": "canary", "paused": "by command"},
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
    "delivery": {"local": {"enqueued": 118, "delivered": 100, "pending": 18, "dropped": 0, "problem": None}},
}


RESULT = {
    "id": "1",
    "stream": "belt",
    "top": [{"label": "bolt", "score": 0.93}],
    "timings_ms": {"total": 12.0},
}
BOX = {"index": 1, "label": "person", "score": 0.87, "box": [16.0, 30.5, 48.0, 70.5]}
EVENT = {
    "event": "config",
    "at": "2026-11-23T15:20:59.123Z",
    "data": {"accepted": False},
    "text": ["configuration edit refused, the last good one stays", "line 3: threads: 0"],
}


def list_results(camera: StillCamera) -> list[dict[str, Any]]:
    """Every frame that was given has its result; ``yard`` is answered by a detector."""
    at = format_rfc3339(CAPTURED_AT_S)
    answers = {"belt": {}, "yard": {"top": None, "detections": [BOX]}}
    found = [
        {**RESULT, "stream": stream, "seq": seq, "captured_at": at, **answers[stream]}
        for seq, stream in enumerate(camera.asked, 1)
    ]
    return found[::-1] or [{**RESULT, "seq": 0, "captured_at": at}]


@pytest.fixture
def camera() -> StillCamera:
    return StillCamera()


@pytest.fixture
def server(tmp_path: Path, camera: StillCamera) -> Iterator[HttpServer]:
    health = Health(live=True, ready=True)
    server = HttpServer(
        "127.0.0.1",
        0,
        lambda: build_app(
            lambda: STATUS,
            lambda: health,
            lambda _: list_results(camera),
            lambda _: [EVENT],
            lambda: {"parts": Reports(tmp_path)},
            dict,
            dict,
            list,
            Crashes(),
            pictures=PictureService(camera, Access(), Crashes()),
        ),
        Crashes(),
    )
    server.start()
    yield server
    server.stop()


def dump_dom(server: HttpServer, path: str, profile: Path) -> str:
    browser = find_program("chromium", "chromium-browser", "google-chrome")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=3500", "--dump-dom", f"http://127.0.0.1:{server.port}{path}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True).stdout


def card_of(text: str, stream: str) -> str:
    """The live card of a camera."""
    cards = [part.split("</article>")[0] for part in text.split('<article class="card view')[1:]]
    [found] = [card for card in cards if f"<b>{stream}</b>" in card]
    return found


def button_of(card: str) -> str:
    """The tag of the button in a live card."""
    return re.findall(r"<button[^>]*>", card)[0]


def test_the_page_shows_the_daemon_in_a_real_browser(
    server: HttpServer, camera: StillCamera, tmp_path: Path
) -> None:
    page = dump_dom(server, "/", tmp_path)
    text = page.split("<script>")[0]
    for words in (
        "belt-&lt;b&gt;3",
        "parts/4+p17",
        "bolt",
        "drifted; patch p17 is active",
        "Agreement rose to 0.93.",
        "5: canary, paused",
        "18",
        "ready",
        'href="reports/parts/p17"',
        "configuration edit refused",
        "line 3: threads: 0",
    ):
        assert words in text, words
    assert "15:20:59" in text
    cards = {stream: card_of(text, stream) for stream in ("belt", "yard", "gate")}
    for stream in ("belt", "yard"):
        assert camera.asked.count(stream) >= 3  # it moves: 3.5 s of the page's own time
        assert 'src="blob:' in cards[stream]
        assert f'viewBox="0 0 {WIDTH} {HEIGHT}"' in cards[stream]
    assert "bolt 0.93" in cards["belt"]
    assert "<rect" not in cards["belt"]
    assert '<rect x="16" y="30.5" width="32" height="40"' in cards["yard"]
    assert "person 0.87</text>" in cards["yard"]
    assert "cameras.gate.snapshots: true" in cards["gate"]
    assert "blob:" not in cards["gate"]
    is_offered = {stream: 'hidden=""' not in button_of(card) for stream, card in cards.items()}
    assert is_offered == {"belt": True, "yard": True, "gate": False}  # nothing to pause without a picture


def test_a_report_is_drawn_in_a_real_browser_and_runs_no_script(server: HttpServer, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(0, 1, (12, 3, 16, 16)).astype(np.float32)
    seen = moments_of_frames(frames)
    baseline = Baseline(
        Moments({"input": seen.pool()}), {"input": seen}, "a" * 64, (3, 16, 16), 12, 12.0, 0.0, "0"
    )
    verdict = Verdict(False, "identity", None, ("In doubt.",), {}, {"input": 0.5}, FrameCounts(12, {}))
    scale = PictureScale(np.full(3, -2.0), np.full(3, 2.0))
    material = Material(None, strips(frames, baseline.moments, None, None, scale, rng))
    text = page(verdict, baseline, material, Setting()).replace(
        "</main>", "<script>document.title = 'run'</script></main>"
    )
    folder = tmp_path / "reports" / "r1"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(text)
    shown = dump_dom(server, "/reports/parts/r1", tmp_path)
    assert "In doubt." in shown
    assert shown.count("<img") == 12
    assert "<title>Recalibration: refused</title>" in shown
