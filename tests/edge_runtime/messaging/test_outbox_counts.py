"""outbox account: the counts balance whatever a failed commit left behind."""

from dataclasses import replace

import pytest

from edge_runtime.messaging.outbox.account import Account
from edge_runtime.messaging.outbox.ledger import Ledger, Row, RowsInMemory
from tests.support.outbox_accounts import assert_balanced


def put(account, count):
    for _ in range(count):
        account.put("t", b"x", 0.0)


def begin(account, last_id=None):
    return account.begin(lambda row: last_id is None or row.id <= last_id, 9.0, 99.0)


def written(commit, deleted=()):
    """The ledger as the store writes it."""
    size = Row(1, "t", b"x", 0.0).size_bytes
    changes = {"pending": len(commit.rows) - len(deleted), "delivered": len(deleted)}
    return commit.ledger.add({**changes, "pending_bytes": changes["pending"] * size})


@pytest.fixture
def account():
    """Five rows in the file."""
    account = Account()
    account.take_over(Ledger())
    put(account, 5)
    account.end(written(begin(account)))
    return account


def ids(account):
    return [row.id for row in account.queue]


def test_what_was_counted_before_the_file_could_be_opened_is_added():
    account = Account()
    account.next_id = 1 << 40
    put(account, 3)
    assert account.record([1 << 40], "delivered")
    account.take_over(Ledger(enqueued=10, delivered=4, pending=6, next_id=11))
    ledger = account.add_up()
    assert (ledger.enqueued, ledger.delivered, ledger.pending, ledger.next_id) == (13, 5, 8, (1 << 40) + 3)
    assert_balanced(ledger)


def test_what_is_counted_while_a_commit_is_under_way_is_kept(account):
    put(account, 4)  # 6..9
    account.record([1, 9], "delivered")
    commit = begin(account, last_id=7)
    put(account, 2)  # 10, 11
    assert account.record([10], "dropped_by_refusal")
    assert not account.record([6], "delivered"), "it is being written"
    account.end(written(commit, deleted=[1]))
    ledger = account.add_up()
    assert (ledger.enqueued, ledger.delivered, ledger.dropped, ledger.pending) == (11, 2, 1, 8)
    assert_balanced(ledger)
    assert (ids(account), account.has_outcomes, account.is_waiting(6)) == ([8, 11], True, False)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_commit_of_unknown_end_counts_its_rows_once(account, is_written):
    put(account, 4)  # 6..9
    commit = begin(account)
    account.fail(is_unknown=True)
    put(account, 1)
    account.record([7], "delivered")
    account.record([8], "dropped_by_refusal")
    assert account.drop_oldest()  # 6
    assert_balanced(account.add_up())
    account.take_over(written(commit) if is_written else account.file)
    ledger = account.add_up()
    assert_balanced(ledger)
    if is_written:
        assert (ledger.delivered, ledger.dropped, ledger.pending, ids(account)) == (0, 0, 10, [10])
        assert [account.is_waiting(one) for one in (6, 7, 8, 9)] == [True, False, False, True]
    else:
        assert (ledger.delivered, ledger.dropped, ledger.pending, ids(account)) == (1, 2, 7, [9, 10])


def test_a_commit_that_only_deletes_is_repeated_after_an_unknown_end(account):
    account.record([2], "delivered")
    commit = begin(account)
    account.fail(is_unknown=True)
    account.take_over(account.file)
    assert begin(account).outcomes == commit.outcomes == {2: "delivered"}


def test_outcomes_on_rows_of_a_commit_that_was_not_written_count_at_once(account):
    put(account, 2)  # 6, 7
    begin(account)
    account.record([6], "delivered")
    account.fail(is_unknown=False)
    assert (account.add_up().delivered, ids(account), account.has_outcomes) == (1, [7], False)
    assert_balanced(account.add_up())


def test_a_replaced_file_costs_what_was_in_it(account):
    put(account, 4)
    begin(account)
    account.fail(is_unknown=True)
    account.take_over(Ledger(files_damaged=1))
    ledger = account.add_up()
    assert (ledger.enqueued, ledger.dropped_by_damage, ledger.pending, ledger.files_damaged) == (9, 5, 4, 1)
    assert_balanced(ledger)


def test_rows_leave_the_memory_in_any_order_with_exactly_their_bytes():
    rows = RowsInMemory()
    for one in (3, 5, 9):
        rows.append(Row(one, "t", b"x" * one, 0.0))
    assert rows.size_bytes == 17 + 3 * 65
    assert rows.pop(4) is None
    assert [rows.pop(5), rows.pop(5)] == [Row(5, "t", b"xxxxx", 0.0), None]
    assert (len(rows), rows.size_bytes, rows.peek()) == (2, 12 + 2 * 65, Row(3, "t", b"xxx", 0.0))
    assert [row.id for row in rows] == [3, 9]


@pytest.mark.parametrize(("pending", "enqueued", "lost"), [(8, 10, 2), (10, 10, 0), (12, 12, 0)])
def test_a_ledger_that_does_not_balance_is_repaired(pending, enqueued, lost):
    ledger = replace(Ledger(enqueued=10), pending=pending).balance()
    assert (ledger.enqueued, ledger.dropped_by_damage) == (enqueued, lost)
    assert_balanced(ledger)
