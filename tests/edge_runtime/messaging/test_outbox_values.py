"""outbox: values that its file should not hold cost the row that has them; a wrong ledger is counted again."""

import itertools
import sqlite3
from dataclasses import fields

import pytest

from edge_runtime.messaging.outbox import outbox as outbox_module
from edge_runtime.messaging.outbox.account import Commit
from edge_runtime.messaging.outbox.ledger import Ledger, Row
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.messaging.outbox.store import Store
from edge_runtime.system.supervised_thread import Crashes
from tests.support.outbox_accounts import assert_balanced, assert_file_agrees
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

COUNTS = [column.name for column in fields(Ledger) if column.type is int]
TIMES = [column.name for column in fields(Ledger) if column.type is float]
NO_NUMBER = ["'abc'", "x'00ff'", "CAST(x'ff' AS TEXT)", "9e999", "-9e999"]
NO_COUNT = [*NO_NUMBER, "-1", "1.5", str(2**62), str(2**63 - 1)]
NO_TIME = [*NO_NUMBER, "-1.0", "1e18"]
PUT = 5


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.01)
    monkeypatch.setattr(outbox_module, "EXPIRY_POLL_S", 0.02)
    monkeypatch.setattr(outbox_module, "LONE_ACK_S", 0.02)


def execute(path, statement):
    db = sqlite3.connect(path, timeout=WAIT_S)
    with db:
        db.execute(statement)
    db.close()


def filled(path):
    """An outbox of which two rows are delivered and three in the file."""
    box = Outbox(path, Crashes())
    for _ in range(PUT):
        box.put("t", b"{}")
    assert box.flush(WAIT_S)
    box.ack([1, 2])
    assert until(lambda: box._account.file.pending == 3)
    return box


def payloads(box):
    return [row.payload for row in box.fetch(0, 9)]


def assert_goes_on(box, path, left, lost=0):
    """New rows come behind those that are left, and the account is right, now and after a restart."""
    box.put("t", b"new")
    assert box.flush(WAIT_S)
    assert until(lambda: payloads(box) == [*left, b"new"] and box.problem is None), payloads(box)
    assert until(lambda: box.ledger().dropped_by_damage == lost), box.ledger()
    assert_balanced(box.ledger())
    assert box.close()
    ledger = assert_file_agrees(path)
    assert ledger.pending == len(left) + 1
    assert list(path.parent.glob("outbox.db.damaged-*")) == []
    again = Outbox(path, Crashes())
    assert payloads(again) == [*left, b"new"]
    assert again.close()
    assert assert_file_agrees(path).files_damaged == ledger.files_damaged, "it is damaged once"
    return ledger


@pytest.mark.parametrize(
    ("column", "value"),
    [(name, value) for name in COUNTS for value in NO_COUNT]
    + [(name, value) for name in TIMES for value in NO_TIME],
)
def test_an_impossible_value_of_the_ledger_loses_no_row(path, column, value):
    assert filled(path).close()
    execute(path, f"UPDATE ledger SET {column} = {value}")
    ledger = assert_goes_on(Outbox(path, Crashes()), path, [b"{}"] * 3)
    assert (ledger.enqueued, ledger.delivered, ledger.files_damaged) == (6, 2, 1)


@pytest.mark.parametrize("value", ["'abc'", "1.5", "-1"])
def test_without_an_account_beside_it_an_impossible_one_begins_at_the_rows(path, value):
    assert filled(path).close()
    execute(path, f"UPDATE ledger SET delivered = {value}")
    path.with_name("outbox.db.account").unlink()
    ledger = assert_goes_on(Outbox(path, Crashes()), path, [b"{}"] * 3)
    assert (ledger.enqueued, ledger.delivered, ledger.files_damaged) == (4, 0, 1)


@pytest.mark.parametrize("value", ["1e18", "-1e18", "9e999", "'abc'", "x'00'", "'NaN'"])
def test_impossible_times_of_all_rows_lose_none(path, value):
    assert filled(path).close()
    execute(path, f"UPDATE waiting SET stored_at_s = {value}")
    ledger = assert_goes_on(Outbox(path, Crashes()), path, [b"{}"] * 3)
    assert (ledger.enqueued, ledger.delivered, ledger.dropped) == (6, 2, 0)


@pytest.mark.parametrize(
    "change",
    [
        "enqueued = 9223372036854775807, delivered = 'abc', pending = x'00'",
        "delivered = 4611686018427387903, dropped_by_size = 4611686018427387903",
        f"files_damaged = {2**62 - 1}, enqueued = 'abc'",
        "next_id = 0",
        "next_id = 4",
        "pending = 0",
        "pending = 1000000",
        "pending_bytes = 0",
        "pending_bytes = 1000000000000",
    ],
)
def test_a_ledger_that_is_not_that_of_the_rows_loses_no_row(path, change):
    assert filled(path).close()
    execute(path, f"UPDATE ledger SET {change}")
    box = Outbox(path, Crashes())
    assert until(lambda: payloads(box) == [b"{}"] * 3)
    box.ack([row.id for row in box.fetch(0, 9)])  # sizes and numbers of rows show when they are deleted
    assert until(lambda: box._account.file.pending == 0 and box.problem is None)
    box.put("t", b"new")
    assert box.flush(WAIT_S)
    assert payloads(box) == [b"new"]
    assert_balanced(box.ledger())
    assert box.close()
    assert assert_file_agrees(path).pending == 1
    assert list(path.parent.glob("outbox.db.damaged-*")) == []


def impossible_values() -> list[tuple[str, str]]:
    """A topic may be any text, a payload any bytes."""
    possible = {("topic", value) for value in NO_NUMBER if value != "x'00ff'" and "CAST" not in value}
    possible |= {("payload", value) for value in ("x'00ff'", "'abc'", "CAST(x'ff' AS TEXT)")}
    columns = ("stored_at_s", "size_bytes", "topic", "payload")
    return [pair for pair in itertools.product(columns, NO_NUMBER) if pair not in possible]


@pytest.mark.parametrize(("column", "value"), impossible_values())
@pytest.mark.parametrize("is_running", [True, False])
def test_an_impossible_value_of_a_row_costs_that_row(path, column, value, is_running):
    box = filled(path)
    if not is_running:
        assert box.close()
    execute(path, f"UPDATE waiting SET {column} = {value} WHERE id = (SELECT MIN(id) FROM waiting)")
    if not is_running:
        box = Outbox(path, Crashes())
    if column == "size_bytes":  # sizes are read when rows leave; the row itself is whole
        box.ack([3])
        assert until(lambda: box._account.file.pending == 2)
        assert_goes_on(box, path, [b"{}"] * 2)
    elif column == "stored_at_s":
        assert_goes_on(box, path, [b"{}"] * 3)
    else:
        box.fetch(0, 9)
        ledger = assert_goes_on(box, path, [b"{}"] * 2, lost=1)
        assert (ledger.enqueued, ledger.delivered) == (6, 2)


@pytest.mark.parametrize("value", [-1, 0, 6, 2**61, 2**63 - 1])
@pytest.mark.parametrize("is_running", [True, False])
def test_an_impossible_id_costs_at_most_that_row(path, value, is_running):
    box = filled(path)
    if not is_running:
        assert box.close()
    execute(path, f"UPDATE waiting SET id = {value} WHERE id = 3")
    if not is_running:
        box = Outbox(path, Crashes())
    box.fetch(0, 9)
    assert until(lambda: box.problem is None and len(payloads(box)) >= 2)
    box.put("t", b"new")
    assert box.flush(WAIT_S)
    assert until(lambda: b"new" in payloads(box) and box.problem is None)
    assert box.close()
    again = Outbox(path, Crashes())
    assert b"new" in payloads(again)
    assert len(payloads(again)) in (3, 4)
    assert again.close()
    assert_file_agrees(path)


def test_a_value_of_a_row_that_is_written_is_not_taken_for_damage(path):
    store = Store(path)
    row = Row(1, "t", None, 0.0)
    with pytest.raises(TypeError):
        store.commit(Commit(Ledger(), {}, [row], {}), 10**6, 0.0)
    store.close()
