"""Each second the dashboard shows other figures: a person who is at work in it is not disturbed by that."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.support.browser import listen, open_browser, open_page
from tests.support.dashboard import STATUS, Daemon
from tests.support.still_camera import StillCamera

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    daemon = Daemon(tmp_path, StillCamera())
    daemon.server.start()
    with open_page(browser, f"http://127.0.0.1:{daemon.server.port}") as page:
        yield page
    daemon.server.stop()


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The models of the status, for this test to change."""
    models = copy.deepcopy(STATUS["models"])
    monkeypatch.setitem(STATUS, "models", models)
    return models


def test_a_link_keeps_the_focus_and_a_text_its_selection_while_all_around_them_changes(
    page: Page, models: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page.goto("/")
    cards, link = page.locator("#models"), page.get_by_role("link", name="Full report")
    link.focus()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#models .top span'))")
    models["parts"]["recalibration"]["drift"]["score"] = 0.77
    models["parts"]["infer_ms"] = None
    monkeypatch.setitem(STATUS, "models", {"aa": {"generation": "aa/1", "streams": {}}, **models})
    expect(cards.locator("article").first).to_contain_text("aa/1")
    expect(cards).to_contain_text("0.77")
    expect(cards).not_to_contain_text("inference p50")
    expect(link).to_be_focused()
    assert page.evaluate("String(getSelection())") == "parts/4+p17"


DRIFT = {"drift": {"drifted": True, "score": 0.31, "threshold": 0.2}}
WORK = {"phase": "working", "progress": {"phase": "judging", "share": 0.4}}
NOW: list[tuple[dict[str, Any], str, str, str]] = [
    (DRIFT, "parts/4", "drifted", "score 0.31"),
    (DRIFT, "parts/4+p17", "drifted", "patch p17 is active"),
    (
        {**DRIFT, **WORK, "task": "recalibrate (drift alarm)"},
        "parts/4",
        "recalibrating",
        "judging 40 %; drifted",
    ),
    ({**WORK, "task": "recalibrate (command, dry run)"}, "parts/4", "dry run", "judging 40 %"),
    ({**WORK, "task": "commission (command)"}, "parts/4", "commissioning", "judging"),
    ({**DRIFT, "corrected_by": "p17"}, "parts/4+p17", "corrected", "patch p17"),
    ({}, "parts/4+p17", "patched", "p17"),
]
"""Status of a recalibration, generation, and what is said of it: a word, and more words."""


def test_what_is_done_about_a_drift_is_said_in_words_above_the_streams(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = page.locator("#now li")
    monkeypatch.setitem(STATUS, "recording", None)

    def tell(found: dict[str, Any], generation: str) -> None:
        model = {"generation": generation, "streams": {}, "recalibration": found}
        monkeypatch.setitem(STATUS, "models", {"parts": model})

    tell({}, "parts/4")
    page.goto("/")
    expect(page.locator("#ready")).to_have_text("ready")
    expect(page.get_by_role("heading", name="Now")).to_be_hidden()
    for found, generation, word, words in NOW:
        tell(found, generation)
        expect(lines.locator("b")).to_have_text(word)
        expect(lines).to_contain_text(words)
        link = lines.get_by_role("link", name="Drift over time")
        if word == NOW[0][2] and generation == NOW[0][1]:
            link.focus()
        expect(link).to_be_focused()  # although the words change
    page.keyboard.press("Enter")
    expect(page.locator("#views a[aria-current]")).to_have_text("Charts")


def test_a_button_keeps_the_focus_and_does_what_the_page_says_now(page: Page, models: dict[str, Any]) -> None:
    verbs = {verb: {} for verb in ("recalibrate", "commission", "rollback", "rollout")}
    rights = {"caller": "anna", "role": "operator", "verbs": verbs}
    page.route("**/commands", lambda route: route.fulfill(json=rights))
    page.goto("/#actions")
    card, abort = page.locator("#view-actions article"), page.get_by_role("button", name="Abort")
    abort.focus()
    models["parts"]["rollout"]["stage"] = "watched"
    expect(card).to_contain_text("version 5: watched")
    expect(abort).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("stage: watched")
    models["parts"]["rollout"]["paused"] = None  # another button takes the place of "Resume"
    expect(card.locator("button", has_text="Pause")).to_be_attached()
    page.keyboard.press("Escape")
    expect(abort).to_be_focused()


def test_views_ask_while_they_are_looked_at_and_redraw_around_the_focus(page: Page) -> None:
    told, asked = listen(page), list[str]()

    def note(request: Request) -> None:
        asked.append(request.url.rpartition("/")[2].partition("?")[0])

    page.on("requestfinished", note)
    page.clock.install()
    page.goto("/#charts")
    legend = page.locator(".chart", has_text="Drift score").get_by_role("button", name="score")
    expect(page.locator("canvas")).to_have_count(4)
    legend.focus()
    with page.expect_response("**/trends*"):
        page.clock.run_for(5100)
    expect(legend).to_be_focused()
    for view, address in (("Log", "log"), ("History", "reports")):
        link = page.get_by_role("link", name=view, exact=True)
        with page.expect_response(f"**/{address}?*"):
            link.click()
        with page.expect_response(f"**/{address}?*"):
            page.clock.run_for(10_100)
    page.get_by_role("link", name="API").click()
    expect(page.locator("#view-history")).to_be_hidden()
    asked.clear()
    with page.expect_response("**/status"):
        page.clock.run_for(30_000)
    assert {"trends", "log", "reports"}.isdisjoint(asked)
    assert [one for one in told if "403 (Forbidden)" not in one] == []


ARRANGE = """async () => {
  const {arrange, make} = await import("/page/dom.js"), place = make("ul");
  document.body.append(place);
  const line = key => make("li", {key, id: `is-${key}`}, make("button", {}, key), key, null);
  arrange(place, ["a", "b", "c"].map(line));
  const before = [...place.children];
  before[1].firstChild.focus();
  arrange(place, ["new", "b", "d"].map(line));
  const after = [...place.children];
  return {
    same: after.map(one => before.indexOf(one)), ids: after.map(one => one.id), text: place.textContent,
    focus: document.activeElement.textContent,
  };
}"""


def test_elements_are_known_by_their_keys(page: Page) -> None:
    page.goto("/")
    ids = ["is-new", "is-b", "is-d"]
    found = {"same": [-1, 1, -1], "ids": ids, "text": "newnewbbdd", "focus": "b"}
    assert page.evaluate(ARRANGE) == found
