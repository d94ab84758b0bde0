"""The editor of the configuration in a real browser, before a daemon that only keeps a text."""

import hashlib
import re

import orjson
import pytest
from playwright.sync_api import expect

from edge_runtime.messaging.commands.answers import Answer, Kind, encode_data, encode_error
from edge_runtime.messaging.commands.request_text import read_transaction
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import Access
from tests.support.axe import find_serious
from tests.support.browser import open_browser, open_page
from tests.support.http_bench import Bench
from tests.support.http_tokens import HOLDERS, TOKENS

pytestmark = pytest.mark.integration
TEXT = "\ufeff# hall 3\ndevice: box  # *** of the line\nmqtt:\n  password: ***\n".replace("\n", "\r\n")


class Keeper:
    """Answers the commands of the editor; implements ``http.commands.Commands``."""

    def __init__(self):
        self.text, self.puts = TEXT, []

    def put(self, verb, payload, known, caller):
        given = orjson.loads(payload)
        try:
            answer = Answer(
                encode_data(orjson.dumps(self.obey(verb, given)), read_transaction(payload)), Kind.DONE
            )
        except ValueError as err:
            answer = Answer(encode_error(str(err), read_transaction(payload)), Kind.REFUSED)
        caller.answer(answer)

    def obey(self, verb, given):
        sha256 = hashlib.sha256(self.text.encode()).hexdigest()
        match verb:
            case "get-config":
                is_kept = {"sha256": sha256, "in_force": True, "after_restart": []}
                return {"file": "box.yaml", "text": self.text, **is_kept}
            case "config-history":
                entry = {"at": "2026-11-30T12:00:00Z", "by": "anna", "changed": {}, "has_text": True}
                return {"entries": [{**entry, "number": number} for number in (1, 2)]}
            case "set-config":
                if given["before_sha256"] != sha256:
                    raise ValueError("the file is another one")
                if not given.get("dry_run"):
                    self.text = given["text"]
                    self.puts.append(given["text"])
            case "undo-config":
                self.text = TEXT if given.get("dry_run") else "device: earlier\n"
        return {"outcome": "in_force", "changed": {"device": "restart"}, "after_restart": []}


@pytest.fixture
def keeper():
    return Keeper()


@pytest.fixture
def page(tmp_path, keeper):
    bench = Bench(tmp_path, access=Access(lambda: HOLDERS, needs_token=True), port=keeper)
    with open_browser() as browser, open_page(browser, bench.url) as page:
        page.goto("/")
        page.get_by_label("Token").fill(TOKENS[Role.OWNER])
        page.get_by_role("button", name="Open").click()
        page.get_by_role("link", name="Configuration").click()
        expect(page.get_by_label("Text of the configuration")).to_have_value(re.compile("hall 3"))
        yield page
    bench.close()


def test_an_edit_leaves_line_ends_and_marks_as_they_are_and_is_not_lost_by_a_click(page, keeper):
    text, save = (
        page.get_by_label("Text of the configuration"),
        page.get_by_role("button", name="Review and save"),
    )
    dialog, told = page.get_by_role("dialog"), []
    page.on("pageerror", lambda error: told.append(str(error)))
    expect(page.get_by_role("table")).to_contain_text("anna")
    expect(save).to_be_disabled()  # nothing was edited
    text.fill(text.input_value().replace("device: box", "device: <img src=x onerror=alert(1)>"))
    save.click()
    expect(dialog.locator(".diff .in")).to_have_count(1)
    expect(dialog.locator(".outcome .good")).to_be_visible()
    assert find_serious(page) == []
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator(".outcome")).to_contain_text("It is in force.")
    page.keyboard.press("Escape")
    assert keeper.puts == [TEXT.replace("device: box", "device: <img src=x onerror=alert(1)>")]
    expect(save).to_be_disabled()

    keeper.text = keeper.text.replace("hall 3", "hall 4")  # another editor
    text.fill("device: mine\n")
    save.click()
    expect(dialog).to_contain_text("the file is another one")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Put back").click()
    dialog.get_by_role("button", name="Put it back").click()
    expect(dialog.locator(".outcome")).to_contain_text("It is in force.")
    page.keyboard.press("Escape")
    expect(text).to_have_value("device: mine\n")
    page.get_by_role("button", name="Load again").click()
    expect(dialog.locator(".diff .in")).to_have_text(re.compile("device: mine"))
    expect(text).to_have_value("device: mine\n")
    dialog.get_by_role("button", name="Load again").click()
    expect(text).to_have_value("device: earlier\n")

    # Set, not typed: that takes a browser minutes.
    text.evaluate(
        "(field, value) => { field.value = value; field.dispatchEvent(new Event('input')); }",
        "# long\n" * 10_000,
    )
    page.get_by_role("button", name="Check").click()
    expect(page.locator("#view-configuration .outcome")).to_contain_text("65536")
    assert keeper.text == "device: earlier\n"
    assert told == []
