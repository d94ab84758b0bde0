"""A real browser: Chromium without a window."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.programs import find_program
from tests.support.waiting import WAIT_S


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium; what a test expects of a page may take as long as the other waits of the tests."""
    expect.set_options(timeout=WAIT_S * 1000)
    program = find_program("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """An empty page without cookies, for a server at ``url``."""
    context = browser.new_context(base_url=url, **options)
    page = context.new_page()
    page.set_default_timeout(WAIT_S * 1000)
    yield page
    context.close()


def listen(page: Page) -> list[str]:
    """What the browser will complain about, such as what the policy does not let it run."""
    told = list[str]()
    page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    return told
