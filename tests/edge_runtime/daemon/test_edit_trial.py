"""An edit by command that cuts the box off is taken back, and no other one."""

import pytest

from edge_runtime.config import find_last_good, find_safe_config, keep_last_good, load_config
from edge_runtime.daemon.edit_trial import GRACE_S
from edge_runtime.errors import CommandError
from edge_runtime.messaging.commands.request import check_arguments
from tests.support.edited_box import EditedBox
from tests.support.waiting import until


@pytest.fixture
def box(tmp_path, monkeypatch):
    box = EditedBox(tmp_path, monkeypatch)
    yield box
    box.close()


def let_pass(box, trial, *, is_reached):
    """A minute."""
    trial.observe(is_reached, 0.0)
    trial.observe(is_reached, GRACE_S - 1.0)
    trial.observe(is_reached, GRACE_S)


def is_undone(box, trial):
    return until(lambda: trial.observe(False, 2 * GRACE_S) or box.undone)


def test_an_edit_that_cuts_the_box_off_is_taken_back_after_a_minute_and_said(box):
    before = box.file.read_text()
    box.set(set={"mqtt.host": "elsewhere", "cameras.belt.fps": 5})
    let_pass(box, box.trial, is_reached=False)
    assert is_undone(box, box.trial)
    assert box.file.read_text() == before
    assert [(fact.by, fact.undone) for fact in box.undone] == [("anna", ("mqtt.host",))]
    assert box.history.entries()[-1].by == "undone"
    assert box.restarts == []
    assert not list(box.running.config.state_dir.glob("config-trial*"))


@pytest.mark.parametrize("arguments", [{"mqtt.keepalive_s": 30}, {"cameras.belt.fps": 5}])
def test_an_edit_that_leaves_the_box_within_reach_stays(box, arguments):
    box.set(set=arguments)
    after = box.file.read_text()
    let_pass(box, box.trial, is_reached="mqtt.keepalive_s" in arguments)
    box.trial.observe(False, 3 * GRACE_S)
    assert (box.file.read_text(), box.undone) == (after, [])
    assert not list(box.running.config.state_dir.glob("config-trial*"))


def test_a_kill_within_the_minute_does_not_save_the_edit(box):
    before = box.file.read_text()
    box.set(set={"mqtt.host": "elsewhere"})
    box.trial.observe(False, 0.0)
    restarted = box.make_trial()
    let_pass(box, restarted, is_reached=False)
    assert is_undone(box, restarted)
    assert box.file.read_text() == before


def test_a_new_name_of_the_box_is_tried_from_the_next_start_on_and_taken_back_with_another_start(box):
    before = box.file.read_text()
    box.set(set={"device": "other"})
    let_pass(box, box.trial, is_reached=True)
    assert "device: other" in box.file.read_text()
    restarted = box.make_trial()
    let_pass(box, restarted, is_reached=False)
    assert is_undone(box, restarted)
    assert (box.file.read_text(), box.restarts) == (before, [1])


def test_an_edit_by_hand_meanwhile_ends_the_trial(box):
    box.set(set={"mqtt.host": "elsewhere"})
    by_hand = box.file.read_text().replace("elsewhere", "another")
    box.trial.observe(False, 0.0)
    box.file.write_text(by_hand)
    box.trial.observe(False, GRACE_S)
    box.trial.observe(False, 3 * GRACE_S)
    assert (box.file.read_text(), box.undone) == (by_hand, [])
    assert box.make_trial().observe(False, GRACE_S) is None


@pytest.mark.parametrize("arguments", [
    {"remove": ["mqtt"]}, {"set": {"mqtt.commands": False}}, {"set": {"commands.unsigned": "operator"}},
])  # fmt: skip
def test_an_edit_after_which_no_owner_could_command_the_box_is_refused(box, arguments):
    before = box.file.read_bytes()
    with pytest.raises(CommandError):
        box.set(**arguments)
    assert box.file.read_bytes() == before


def test_a_file_with_a_password_cannot_be_put_back_so_its_reach_is_not_edited_by_command(box):
    text = box.file.read_text().replace("{EDGE_P}", "literal-pass")
    box.file.write_text(text)
    box.running.config = load_config(box.file, box.env)
    with pytest.raises(CommandError):
        box.set(set={"mqtt.host": "elsewhere"})
    assert box.set(set={"cameras.belt.fps": 5})["outcome"] == "in_force"


BROKEN = "fps: soon"


def enter_safe_mode(box, text):
    """As a start does with this text."""
    box.file.write_text(text)
    box.running.config = find_safe_config(box.file, box.env)


def test_an_edit_that_ended_safe_mode_and_cuts_the_box_off_leads_back_into_it(box):
    keep_last_good(box.running.config, box.file)
    last_good, broken = box.running.config, box.file.read_text().replace("fps: 3", BROKEN)
    enter_safe_mode(box, broken)
    box.set(set={"mqtt.host": "elsewhere", "cameras.belt.fps": 5})
    assert box.running.config.cameras["belt"].fps == 5
    keep_last_good(box.running.config, box.file)
    let_pass(box, box.trial, is_reached=False)
    assert is_undone(box, box.trial)
    assert box.file.read_text() == broken
    assert (box.running.config.is_safe_mode, box.running.config.mqtt) == (True, last_good.mqtt)
    assert find_last_good(box.file, box.env) == last_good


def test_a_kill_within_the_minute_leads_back_into_safe_mode_too(box):
    broken = box.file.read_text().replace("fps: 3", BROKEN)
    enter_safe_mode(box, broken)
    box.set(set={"mqtt.host": "elsewhere", "cameras.belt.fps": 5})
    keep_last_good(box.running.config, box.file)
    restarted = box.make_trial()
    let_pass(box, restarted, is_reached=False)
    assert is_undone(box, restarted)
    assert (box.file.read_text(), find_last_good(box.file, box.env)) == (broken, None)


def test_an_edit_that_ends_safe_mode_by_a_start_is_tried_from_that_start_on(box):
    broken = box.file.read_text() + "outbox: {max_mib: much}\n"
    enter_safe_mode(box, broken)
    box.set(set={"mqtt.host": "elsewhere", "outbox.max_mib": 7})
    let_pass(box, box.trial, is_reached=False)
    assert not until(lambda: box.trial.observe(False, 3 * GRACE_S) or box.undone, 0.1)
    restarted = box.make_trial()
    let_pass(box, restarted, is_reached=False)
    assert is_undone(box, restarted)
    assert box.file.read_text() == broken


def test_an_edit_that_ends_safe_mode_is_not_refused_for_a_password_in_the_broken_text_which_is_kept_nowhere(
    box,
):
    broken = box.file.read_text().replace("fps: 3", BROKEN).replace('"{EDGE_P}"', "literal-pass")
    enter_safe_mode(box, broken)
    box.set(set={"mqtt.keepalive_s": 30, "mqtt.password": "{EDGE_P}", "cameras.belt.fps": 5})
    assert not box.running.config.is_safe_mode
    kept = [path for path in box.running.config.state_dir.rglob("*") if path.is_file()]
    assert not any(b"literal-pass" in path.read_bytes() for path in kept)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"null"])
def test_a_damaged_marker_is_no_trial(box, damage):
    before = box.file.read_text()
    marker = box.running.config.state_dir / "config-trial.json"
    marker.parent.mkdir(exist_ok=True)
    marker.write_bytes(damage)
    let_pass(box, box.make_trial(), is_reached=False)
    assert (box.file.read_text(), box.undone) == (before, [])


OWNER_OVER_HTTP = {"http.commands": True, "http.tokens": {"olga": {"file": "olga.token", "role": "owner"}}}


@pytest.fixture
def box_with_owner(box):
    """Its owner commands it over HTTP."""
    box.file.with_name("olga.token").write_text("olgas-token-0123456789\n")
    box.set(set=OWNER_OVER_HTTP)
    return box


def set_over_http(box, **arguments):
    given = check_arguments("set-config", arguments)
    return box.editor.set(given, "http:olga", box.progress, "http")


@pytest.mark.parametrize(
    "arguments",
    [
        {"remove": ["mqtt", "commands"]},
        {"set": {"mqtt.commands": False}},
        {"set": {"commands.unsigned": "viewer"}},
    ],
)
def test_over_http_the_broker_may_be_turned_off_since_the_caller_stays_within_reach(
    box_with_owner, arguments
):
    box = box_with_owner
    set_over_http(box, **arguments)
    after = box.file.read_text()
    if "commands.unsigned" not in arguments.get("set", {}):
        assert box.trial.describe(0.0) is None
        let_pass(box, box.trial, is_reached=False)
        assert (box.file.read_text(), box.undone) == (after, [])


@pytest.mark.parametrize(
    "arguments",
    [
        {"set": {"http.enabled": False}},
        {"set": {"http.commands": False}},
        {"set": {"http.tokens.olga.role": "operator"}},
        {"remove": ["http.tokens"]},
    ],
)
def test_an_edit_over_http_after_which_no_owner_could_command_there_is_refused(box_with_owner, arguments):
    before = box_with_owner.file.read_text()
    with pytest.raises(CommandError):
        set_over_http(box_with_owner, **arguments)
    assert box_with_owner.file.read_text() == before
    box_with_owner.set(**arguments)  # whom it does not cut off


def test_an_edit_over_http_of_a_broker_that_stays_is_on_trial_and_that_is_told(box_with_owner):
    box = box_with_owner
    set_over_http(box, set={"mqtt.host": "elsewhere"})
    told = box.editor.read()["trial"]
    assert (told["by"], told["changed"], told["ends_in_s"]) == ("http:olga", ("mqtt.host",), None)
    box.trial.observe(False, 100.0)
    assert box.trial.describe(100.0)["ends_in_s"] == GRACE_S
    let_pass(box, box.trial, is_reached=True)
    assert box.trial.describe(0.0) is None
