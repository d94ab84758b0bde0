"""What a person does on the page of a whole daemon: look and commission, edit, recalibrate, roll back, promote."""

import json
import re
import shutil

import httpx
import numpy as np
import pytest
import yaml
from playwright.sync_api import expect

from tests.support.axe import find_serious
from tests.support.browser import open_browser
from tests.support.onnx_nets import hazy
from tests.support.small_site import small_bundle, small_camera
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

ROLES = ("viewer", "operator", "owner")
TOKENS = {role: f"the-token-of-the-{role}-0123456789" for role in ROLES}


@pytest.fixture
def open_page():
    """A function that opens the page of a box with the token of a role."""
    with open_browser() as browser:

        def open_page(box, role, view):
            page = browser.new_context(base_url=f"http://127.0.0.1:{box.port}").new_page()
            page.set_default_timeout(WAIT_S * 1000)
            page.told = []
            page.on("pageerror", lambda error: page.told.append(str(error)))
            page.goto(f"/#{view}")
            page.get_by_label("Token").fill(TOKENS[role])
            page.get_by_role("button", name="Open").click()
            expect(page.locator("#caller")).to_contain_text(role)
            return page

        yield open_page


def put_version(root, version):
    """The bundle once more, with another number."""
    shutil.copytree(root / "1", root / f".{version}")
    manifest = yaml.safe_load((root / f".{version}" / "bundle.yaml").read_text())
    (root / f".{version}" / "bundle.yaml").write_text(yaml.safe_dump({**manifest, "version": version}))
    (root / f".{version}").rename(root / str(version))


def write(box, root, cameras):
    for role, token in TOKENS.items():
        (box.folder / f"{role}.token").write_text(token)
    content = {
        "device": "box",
        "state_dir": str(box.state),
        "models": {
            "parts": {
                "bundle": str(root),
                "rollout": {"shadow": {"frames": 100_000, "cpu": 1}, "limits": {"latency_ratio": 1000}},
                "queue_frames": 256,
                "max_age_ms": 60_000,
            }
        },
        "cameras": cameras,
        "recalibration": {
            "on_drift": False,
            "commission": {"frames": 48},
            "reference": {"frames": 48},
            "distillation": "off",
        },
        "drift": {"window_frames": 16, "sample_every_s": 0.02},
        "http": {
            "port": box.port,
            "commands": True,
            "tokens": {role: {"file": f"{role}.token", "role": role} for role in ROLES},
        },
    }
    box.write("# the belt of hall 3\n" + yaml.safe_dump(content, sort_keys=False))


def model_of(box):
    token = {"Authorization": f"Bearer {TOKENS['viewer']}"}
    found = httpx.get(f"http://127.0.0.1:{box.port}/status", headers=token, trust_env=False, timeout=WAIT_S)
    return found.json()["models"]["parts"]


def command(box, role, verb, **arguments):
    token = {"Authorization": f"Bearer {TOKENS[role]}"} if role else {}
    address = f"http://127.0.0.1:{box.port}/commands/{verb}"
    return httpx.post(address, json=arguments, headers=token, trust_env=False, timeout=WAIT_S)


def outcome(page):
    return page.get_by_role("dialog").locator(".outcome > p").first


def do(page, action, *presses):
    """Open an action, and press its buttons as they come."""
    page.get_by_role("button", name=action, exact=True).click()
    for press in presses:
        page.get_by_role("dialog").get_by_role("button", name=press, exact=True).click()


def close(page):
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def commission(page):
    do(page, "Commission")
    dialog = page.get_by_role("dialog")
    begin = dialog.get_by_role("button", name="Commission")
    expect(begin).to_be_disabled()
    expect(dialog.get_by_role("img")).to_have_count(4)
    assert find_serious(page) == []
    dialog.get_by_label("Name").fill("Day!")
    dialog.get_by_label("the site is healthy").check()
    begin.click()
    expect(outcome(page)).to_have_class("bad lines")
    dialog.get_by_label("Name").fill("day")
    begin.click()
    expect(outcome(page)).to_have_class("good")
    expect(dialog).to_contain_text("day")
    close(page)
    expect(page.get_by_role("button", name="Commission", exact=True)).to_be_focused()


def edit(box, page, foggy):
    """The camera is turned to the haze; first with a mistake."""
    text = page.get_by_label("Text of the configuration")
    expect(text).to_have_value(re.compile("hall 3"))
    before = text.input_value()
    after = re.sub(r"path: .*", f"path: {foggy['belt']['path']}", before)
    text.fill(after.replace("fps: 15", "fps: forty"))
    page.get_by_role("button", name="Check").click()
    line = next(number for number, one in enumerate(before.splitlines(), 1) if "fps" in one)
    expect(page.locator(".numbers .bad")).to_have_text(str(line))
    page.get_by_role("button", name=f"Line {line}").click()
    expect(page.locator(".help h3").first).to_have_text("cameras.belt.fps")
    expect(page.locator(".help")).to_contain_text("pictures a second")
    assert find_serious(page) == []
    text.fill(after)
    page.get_by_role("button", name="Review and save").click()
    shown = page.get_by_role("dialog").locator(".diff")
    expect(shown.locator(".out")).to_have_count(1)
    expect(shown.locator(".in")).to_contain_text("hazy")
    expect(outcome(page)).to_have_class("good")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    expect(outcome(page)).to_contain_text("in force")
    close(page)
    assert foggy["belt"]["path"] in box.file.read_text()
    expect(page.get_by_role("table")).to_contain_text("http:owner")


def test_each_action_of_the_page_works_for_who_may(box, tmp_path, open_page):
    root = small_bundle(tmp_path).path.parent
    clear, foggy = (
        small_camera(tmp_path / drift.__name__, drift=drift, fps=15, snapshots=True)
        for drift in (np.copy, hazy)
    )
    write(box, root, clear)
    box.start()
    assert until(box.is_ready), box.log()
    assert [command(box, role, "rollback").status_code for role in (None, "viewer")] == [401, 403]
    assert command(box, "operator", "restart").status_code == 403

    viewer = open_page(box, "viewer", "actions")
    expect(viewer.locator("#view-actions")).to_contain_text("changes nothing")
    expect(viewer.locator("#view-actions").get_by_role("button")).to_have_count(0)
    viewer.context.close()

    page = open_page(box, "operator", "actions")
    commission(page)
    page.get_by_role("button", name="belt", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("link", name="Save the picture")).to_be_visible()
    close(page)

    owner = open_page(box, "owner", "configuration")
    edit(box, owner, foggy)

    assert until(lambda: (model_of(box)["recalibration"]["drift"] or {}).get("drifted")), box.log()
    do(page, "Recalibrate", "Dry run")
    expect(outcome(page)).to_have_class("good")
    expect(page.get_by_role("dialog").get_by_role("link", name="The whole report")).to_be_visible()
    assert model_of(box)["generation"] == "small/1"
    page.get_by_role("dialog").get_by_role("button", name="Recalibrate now").click()
    assert until(lambda: model_of(box)["generation"] == "small/1+p1"), box.log()
    expect(outcome(page)).to_contain_text("p1")
    close(page)
    do(page, "Roll back")
    expect(page.get_by_role("dialog")).to_contain_text("small/1+p1 answers now. After this small/1 answers")
    page.get_by_role("dialog").get_by_role("button", name="Roll back").click()
    expect(outcome(page)).to_have_class("good")
    assert model_of(box)["generation"] == "small/1"
    close(page)

    put_version(root, 2)
    for stage in ("watched", "active"):
        do(page, "Promote", "Promote")
        expect(outcome(page)).to_contain_text(stage)
        close(page)
    assert until(lambda: model_of(box)["generation"] == "small/2"), box.log()

    do(owner, "Put back", "Put it back")
    expect(outcome(owner)).to_contain_text("in force")
    assert yaml.safe_load(box.file.read_text())["cameras"]["belt"]["path"] == clear["belt"]["path"]
    assert [one.told for one in (viewer, page, owner)] == [[], [], []]
    noted = [json.loads(line) for line in (box.state / "commands.log").read_text().splitlines()]
    assert {(one["verb"], one["by"]) for one in noted} >= {
        ("commission", "http:operator"), ("rollback", "http:operator"), ("set-config", "http:owner"),
    }  # fmt: skip
