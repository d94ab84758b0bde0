"""The page that asks for a token, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import Access
from edge_runtime.serving.token_holder import TokenHolder
from tests.support.browser import open_browser, open_page
from tests.support.http_bench import Bench
from tests.support.http_tokens import HOLDERS, TOKENS

pytestmark = pytest.mark.integration


@pytest.fixture
def holders() -> list[TokenHolder]:
    return list(HOLDERS)


@pytest.fixture
def url(tmp_path: Path, holders: list[TokenHolder]) -> Iterator[str]:
    bench = Bench(tmp_path, access=Access(lambda: holders, needs_token=True))
    yield bench.url
    bench.close()


@pytest.fixture
def page(url: str) -> Iterator[Page]:
    with open_browser() as browser, open_page(browser, url) as page:
        yield page


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Open").click()


def test_a_person_logs_in_once_and_out_again(page: Page) -> None:
    told = list[str]()
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto("/")
    log_in(page, "no-caller-has-this-token")
    expect(page.get_by_role("alert")).to_have_text("No caller has this token.")
    log_in(page, TOKENS[Role.VIEWER])
    expect(page.locator("#caller")).to_contain_text("the-viewer (viewer)")
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert (
        page.evaluate("document.cookie + JSON.stringify([localStorage, sessionStorage])").find("viewer-") < 0
    )
    other = (
        page.context.new_page()
    )  # a link on a page from elsewhere: its first request comes without the cookie
    other.goto("data:text/html,<a href='" + page.url + "'>the box</a>")
    other.get_by_role("link").click()
    expect(other.locator("#caller")).to_contain_text("the-viewer (viewer)")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    expect(other.get_by_label("Token")).to_be_visible()  # its next request is refused
    assert told == []


def test_a_session_that_ends_leads_to_the_page_that_asks(page: Page, holders: list[TokenHolder]) -> None:
    page.goto("/#api")
    log_in(page, TOKENS[Role.OWNER])
    expect(page.locator("#caller")).to_contain_text("the-owner")
    address = page.locator(".address", has_text="/predict/{model}")
    address.locator("summary").click()
    expect(address.locator("pre")).to_have_text(re.compile("^curl .*TOKEN.* @FILE http://.*/predict/MODEL$"))
    expect(address.locator("td", has_text="429")).to_be_visible()
    holders.clear()
    expect(page.get_by_label("Token")).to_be_visible()


def test_who_logs_in_is_where_they_wanted_to_go_and_nowhere_else(page: Page, url: str) -> None:
    """The page that asks has the address of the one that was asked for; none is read from a query."""
    for asked in ("/#charts", "/reports/parts/r1?next=//elsewhere.example#top", "//elsewhere.example/#api"):
        page.context.clear_cookies()
        page.goto("about:blank")
        page.goto(url + asked)
        log_in(page, TOKENS[Role.VIEWER])
        expect(page.get_by_label("Token")).to_have_count(0)
        assert page.url == url + asked


def test_who_logs_in_again_is_where_they_were(page: Page) -> None:
    page.goto("/")
    log_in(page, TOKENS[Role.VIEWER])
    page.get_by_role("link", name="Log", exact=True).click()
    page.get_by_role("button", name="Log out").click()
    log_in(page, TOKENS[Role.VIEWER])
    expect(page.get_by_role("link", name="Log", exact=True)).to_have_attribute("aria-current", "page")
    assert page.url.endswith("/#log")
