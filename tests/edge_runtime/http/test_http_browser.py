"""The dashboard in a real browser: that its policy lets its own script run, and what a person then reads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from calibration import Baseline, FrameCounts, Moments, Verdict
from calibration.report.data import Material
from calibration.report.page import Setting
from calibration.report.page import page as make_page
from calibration.report.states import states
from calibration.report.thumbnails import PictureScale, strips
from calibration.stats.moments import moments_of_frames
from edge_runtime.http.server import HttpServer
from edge_runtime.system.rfc3339 import format_rfc3339
from tests.support.axe import find_serious
from tests.support.browser import listen, open_browser, open_page
from tests.support.dashboard import BOX, EVENT, RESULT, STATUS, Daemon, give_trends
from tests.support.still_camera import CAPTURED_AT_S, HEIGHT, WIDTH, StillCamera

pytestmark = pytest.mark.integration


@pytest.fixture
def camera() -> StillCamera:
    return StillCamera()


@pytest.fixture
def daemon(tmp_path: Path, camera: StillCamera) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, camera)
    daemon.server.start()
    yield daemon
    daemon.server.stop()


@pytest.fixture
def server(daemon: Daemon) -> HttpServer:
    return daemon.server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, server: HttpServer) -> Iterator[Page]:
    url = f"http://127.0.0.1:{server.port}"
    with open_page(browser, url, locale="en-GB", timezone_id="UTC") as page:
        yield page


def test_the_page_shows_the_daemon_in_a_real_browser(page: Page, camera: StillCamera) -> None:
    told = listen(page)
    page.goto("/")
    expect(page.locator("#device")).to_have_text("belt-<b>3")
    for words in (
        "parts/4+p17",
        "anna<b> keeps pictures of belt, yard",
        "14:02:11: 1,234 so far, 12 left out",
        "bolt",
        "drifted; patch p17 is active",
        "Agreement rose to 0.93.",
        "5: canary, paused",
        "18",
        "ready",
        "configuration edit refused",
        "line 3: threads: 0",
        "15:20:59",
    ):
        expect(page.locator("body")).to_contain_text(words)
    expect(page.locator('a[href="reports/parts/p17"]')).to_be_visible()
    assert [one for one in told if "403 (Forbidden)" not in one] == []  # of the camera that gives none
    page.get_by_role("link", name="Configuration").click()  # without commands over HTTP
    expect(page.locator("#view-configuration .outcome")).not_to_be_empty()
    for name in ("Check", "Review and save"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()


def test_live_pictures_move_with_their_results(page: Page, camera: StillCamera) -> None:
    page.goto("/")
    belt, yard, gate = (
        page.locator(".camera", has=page.locator("b", has_text=stream)) for stream in ("belt", "yard", "gate")
    )
    for card in (belt, yard):
        picture = card.locator("img")
        expect(picture).to_have_attribute("src", re.compile("^data:image"))
        first = picture.get_attribute("src")
        expect(picture).not_to_have_attribute("src", first or "")  # it moves
        expect(card.locator("svg")).to_have_attribute("viewBox", f"0 0 {WIDTH} {HEIGHT}")
    expect(belt).to_contain_text("bolt 0.93")
    assert belt.locator("rect").count() == 0
    expect(yard.locator("rect")).to_have_attribute("width", "32")
    expect(yard.locator("rect")).to_have_attribute("y", "30.5")
    expect(yard.locator("text")).to_have_text("person 0.87")
    expect(gate).to_contain_text("cameras.gate.snapshots: true")
    is_offered = [card.locator("button").is_visible() for card in (belt, yard, gate)]
    assert is_offered == [True, True, False]  # nothing to pause without a picture
    belt.locator("button").click()
    expect(belt.locator("button")).to_have_attribute("aria-pressed", "true")


def test_charts_of_a_sensor_move_with_the_values_of_their_results(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STATUS, "cameras", {"pump": {}})
    complaints = listen(page)
    page.goto("/")
    pump = page.locator(".camera")
    chart = pump.locator("img")
    expect(chart).to_have_attribute("src", re.compile("^data:image/svg"))
    expect(chart).to_have_attribute("alt", re.compile("pump"))
    first = chart.get_attribute("src")
    expect(chart).not_to_have_attribute("src", first or "")  # it moves
    assert chart.evaluate("img => img.decode().then(() => img.naturalWidth / img.naturalHeight)") > 1
    expect(pump).to_contain_text("heat 81.23 degC, wear <b> 0.25 mm")
    expect(pump).to_contain_text("heat above limits")
    assert complaints == []


@pytest.mark.parametrize(
    ("anomaly", "words"),
    [
        ({"score": 0.5, "threshold": None, "is_anomalous": None}, "no threshold yet"),
        ({"score": 0.5, "threshold": 0.25, "is_anomalous": True}, "anomalous"),
        ({"score": 0.5, "threshold": 0.75, "is_anomalous": False}, "normal"),
    ],
)
def test_an_anomaly_is_said_in_words(
    page: Page, monkeypatch: pytest.MonkeyPatch, anomaly: dict[str, Any], words: str
) -> None:
    monkeypatch.setitem(RESULT, "top", None)
    monkeypatch.setitem(RESULT, "anomaly", anomaly)
    page.goto("/")
    expect(page.locator("#streams")).to_contain_text(words)


def test_a_failure_is_told_and_after_a_restart_the_page_goes_on_by_itself(
    page: Page, daemon: Daemon, camera: StillCamera
) -> None:
    page.goto("/")
    lost, ready, picture = (
        page.get_by_role("alert"),
        page.locator("#ready"),
        page.locator(".camera img").first,
    )
    expect(ready).to_have_text("ready")
    expect(lost).to_be_hidden()
    daemon.fails = True
    expect(lost).to_contain_text("this view failed")
    daemon.fails = False
    expect(lost).to_be_hidden()
    daemon.server.stop()
    expect(lost).to_contain_text("does not answer")
    expect(page.locator(".camera").first).to_have_class(re.compile("old"))
    daemon.start_again()
    expect(lost).to_be_hidden()
    before = picture.get_attribute("src")
    expect(picture).not_to_have_attribute("src", before or "")


def test_charts_show_figures_over_time_and_are_read_by_keys(page: Page) -> None:
    told = listen(page)
    page.goto("/#charts")
    expect(page.locator("canvas")).to_have_count(4)
    drift = page.locator(".chart", has=page.locator("h3", has_text="Drift score"))
    expect(drift).to_contain_text("drift seen")
    plot = drift.get_by_role("slider")
    expect(plot).to_have_attribute("aria-valuetext", "now: score 11.10, alarm above 1.00")
    plot.focus()
    plot.press("Home")
    expect(plot).to_have_attribute("aria-valuetext", re.compile("00:25:00: score 10.00"))
    drift.get_by_role("button", name="score").click()
    expect(drift.get_by_role("button", name="score")).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".chart", has_text="Lost, by reason")).to_contain_text("queue full3")
    assert told == []


def test_the_log_is_filtered_and_the_history_leads_to_reports(page: Page, tmp_path: Path) -> None:
    told = listen(page)
    for name, accepted in (("patches/p17", True), ("reports/r1", False)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        report = {"at": 1.0, "accepted": accepted, "candidate": "input", "reasons": [f"Because of {name}."]}
        (folder / "report.json").write_bytes(orjson.dumps(report))
        (folder / "report.html").write_text("<p>The whole report.</p>")
    page.goto("/#log")
    expect(page.locator(".log li")).to_have_text([re.compile("ready"), re.compile("lost  stream=belt")])
    page.get_by_label("Level").select_option("error")
    expect(page.locator(".log li")).to_have_count(1)
    page.get_by_role("link", name="History").click()
    expect(page.locator("#generations")).to_contain_text("Waits for a person: by command")
    expect(page.locator("#generations")).to_contain_text("24/11/2026 03:00")
    expect(page.locator("#view-history .events li")).to_have_count(2)
    page.get_by_role("link", name="Report r1 of parts").click()
    expect(page.locator("body")).to_have_text("The whole report.")
    assert told == []


HOSTILE = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'
KEPT = ("at", "captured_at", "began_at", "kind", "level", "role", "name", "jpeg")
"""Texts that the page goes by."""
RIGHTS = {
    "caller": "anna",
    "role": "operator",
    "verbs": {verb: {} for verb in ("recalibrate", "commission", "rollback", "rollout", "snapshot")},
}
API = {
    "paths": {
        "/status": {
            "get": {
                "summary": "status",
                "parameters": [{"name": "most", "in": "query", "schema": {"default": "a"}}],
                "responses": {"200": {"description": "`all`", "content": {"text/html": {}}}},
            }
        }
    }
}
COMMANDED = {
    "get-config": {
        "file": "box.yaml",
        "text": "device: box",
        "sha256": "",
        "problem": "line 1: device: box",
        "in_force": True,
        "after_restart": ["device"],
    },
    "config-history": {
        "entries": [{"number": 1, "at": "2026-11-23", "by": "anna", "changed": {"device": ""}}]
    },
}


def poison(value: Any, name: str = "") -> Any:
    """Markup in every text, and in every name that a person gives."""
    if isinstance(value, dict):
        is_named = name in ("models", "cameras", "delivery", "refused", "changed")
        return {f"{key}{HOSTILE}" if is_named else key: poison(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [poison(one, name) for one in value]
    is_text = isinstance(value, str) and name not in KEPT
    return f"{value}{HOSTILE}" if is_text else value


def test_a_person_commissions_by_pictures_of_cameras_and_windows_of_sensors(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STATUS, "cameras", {"belt": {"samples": None}, "pump": {"samples": {"came": 9}}})
    monkeypatch.setitem(STATUS["models"]["parts"], "streams", {"belt": {}, "pump": {}})
    page.route(re.compile("/commands$"), lambda route: route.fulfill(json=RIGHTS))
    complaints = listen(page)
    page.goto("/#actions")
    expect(page.get_by_role("button", name="belt", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="pump", exact=True)).to_have_count(0)  # no picture to take
    page.get_by_role("button", name="Commission").click()
    for stream in ("belt", "pump"):
        shown = page.get_by_role("img", name=re.compile(f"{stream}, picture 1 of"))
        expect(shown).to_be_visible()
        assert shown.evaluate("img => img.decode().then(() => img.naturalWidth)") > 0
    assert complaints == []


def test_no_name_and_no_text_becomes_markup_in_any_view(page: Page) -> None:
    told = listen(page)
    at = format_rfc3339(CAPTURED_AT_S)
    report = {
        "id": "parts/p1",
        "at": at,
        "accepted": True,
        "candidate": "input",
        "reasons": ["Good."],
        "page": "x",
    }
    answers = {
        "status": STATUS,
        "readyz": {"live": True, "ready": False, "reasons": ["not yet"]},
        "results": {"results": [{**RESULT, "seq": 1, "captured_at": at, "detections": [BOX]}]},
        "events": {"events": [EVENT]},
        "live": {
            "pictures": [
                {"camera": "yard", "seq": 1, "captured_at": at, "width": 4, "height": 3, "jpeg": ""},
                {"camera": "belt", "seq": 1, "captured_at": at, "width": 4, "height": 3, "jpeg": ""},
            ],
            "refused": {"gate": {"code": 403, "error": "no"}},
            "waiting": {},
            "results": [
                {"stream": "yard", "seq": 1, "captured_at": at, "detections": [BOX]},
                {"stream": "belt", "seq": 1, "captured_at": at, "top": RESULT["top"]},
            ],
        },
        "reports": {"reports": [report]},
        "trends": give_trends(3600, 0),
        "log": {"log": [{"level": "error", "text": ""}]},
        "session": {"name": f"anna{HOSTILE}", "role": "operator"},
        "openapi.json": API,
        "commands": RIGHTS,
        **{verb: {"data": data} for verb, data in COMMANDED.items()},
    }

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2].partition("?")[0]
        route.fulfill(json=poison(answers[name], name))

    page.route(re.compile(rf"/({'|'.join(map(re.escape, answers))})(\?|$)"), answer)
    page.goto("/")
    for link in page.locator("#views a").all():
        link.click()
        expect(page.locator("main .view:not([hidden])")).to_contain_text("onerror")
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("svg text")).to_contain_text("onerror")
    page.get_by_role("link", name="Actions").click()
    page.get_by_role("button", name="Abort").click()
    expect(page.get_by_role("dialog")).to_contain_text("onerror")
    assert page.locator("img[src=x], script:not([src])").count() == 0
    assert page.evaluate("window.hit") is None
    assert [one for one in told if "403 (Forbidden)" not in one] == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_nothing_stands_in_the_way_of_who_sees_or_moves_otherwise(
    browser: Browser, server: HttpServer, scheme: Literal["light", "dark"], width: int
) -> None:
    context = browser.new_context(
        base_url=f"http://127.0.0.1:{server.port}",
        color_scheme=scheme,
        viewport={"width": width, "height": 800},
    )
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#ready")).to_have_text("ready")
    for view in page.locator("#views a").all():
        view.click()
        expect(view).to_have_attribute("aria-current", "page")
        assert find_serious(page) == [], view.text_content()
        is_too_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not is_too_wide, view.text_content()
    context.close()


def test_a_report_is_drawn_in_a_real_browser_and_runs_no_script(page: Page, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(0, 1, (12, 3, 16, 16)).astype(np.float32)
    seen = moments_of_frames(frames)
    baseline = Baseline(
        Moments({"input": seen.pool()}), {"input": seen}, "a" * 64, (3, 16, 16), 12, 12.0, 0.0, "0"
    )
    verdict = Verdict(False, "identity", None, ("In doubt.",), {}, {"input": 0.5}, FrameCounts(12, {}))
    scale = PictureScale(np.full(3, -2.0), np.full(3, 2.0))
    material = Material(None, strips(states(frames, baseline.moments, None, None, 6, rng), scale))
    text = make_page(verdict, baseline, material, Setting()).replace(
        "</main>", "<script>document.title = 'run'</script></main>"
    )
    folder = tmp_path / "reports" / "r1"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text(text)
    page.goto("/reports/parts/r1")
    expect(page.locator("body")).to_contain_text("In doubt.")
    expect(page.locator("img")).to_have_count(12)
    expect(page).to_have_title("Recalibration: refused")
