"""outbox_ledger: the account balances whatever a failed disk left behind."""

from dataclasses import replace

from edge_runtime.messaging.outbox.ledger import (
    DoubtfulCommit,
    Ledger,
    Row,
    RowsInMemory,
    balanced,
    committed,
    continued,
    reopened,
)


def assert_balanced(ledger):
    assert ledger.enqueued == ledger.delivered + ledger.dropped + ledger.pending, ledger


def test_late_opening_adds_what_was_counted_before():
    found = Ledger(enqueued=10, delivered=4, pending=6, next_id=11)
    ledger = continued(found, Ledger(enqueued=3, delivered=1, next_id=1 << 40))
    assert (ledger.enqueued, ledger.delivered, ledger.pending, ledger.next_id) == (13, 5, 6, 1 << 40)
    assert_balanced(replace(balanced(ledger, 2), pending=8))


BEFORE = Ledger(enqueued=12, delivered=2, dropped_by_queue=1, pending=5, pending_bytes=500, next_id=15)
AFTER = replace(
    BEFORE, delivered=4, pending=7, pending_bytes=700, clock_s=9.0
)  # four rows more, two of five delivered


def test_what_was_counted_while_a_commit_was_under_way_is_kept():
    running = replace(BEFORE, enqueued=20, delivered=7, dropped_by_refusal=1, next_id=21)
    ledger = committed(running, BEFORE, AFTER)
    assert (ledger.enqueued, ledger.delivered, ledger.dropped, ledger.pending) == (20, 9, 2, 7)
    assert (ledger.pending_bytes, ledger.next_id) == (700, 21)
    assert_balanced(replace(ledger, pending=ledger.pending + 2))  # two are in memory


def test_a_commit_that_failed_only_seemingly_is_taken_from_the_file():
    doubt = DoubtfulCommit(BEFORE, last_id=12, delivered={9}, refused={10}, dropped={11})
    running = replace(
        BEFORE, enqueued=14, delivered=4, dropped_by_refusal=1, dropped_by_queue=2
    )  # one of them new
    assert doubt.is_in(AFTER)
    ledger = doubt.settled(running, AFTER)
    assert (ledger.enqueued, ledger.delivered, ledger.dropped, ledger.pending) == (14, 5, 1, 7)
    assert_balanced(replace(ledger, pending=ledger.pending + 1))


def test_a_commit_that_failed_leaves_the_running_account_alone():
    found = Ledger(enqueued=8, delivered=2, dropped_by_queue=1, pending=5, pending_bytes=500, next_id=9)
    assert not DoubtfulCommit(BEFORE, last_id=12).is_in(found)
    ledger = reopened(replace(BEFORE, delivered=3), found)
    assert (ledger.enqueued, ledger.delivered, ledger.pending, ledger.pending_bytes) == (12, 3, 5, 500)


def test_rows_leave_the_memory_in_any_order_with_exactly_their_bytes():
    rows = RowsInMemory()
    for one in (3, 5, 9):
        rows.append(Row(one, "t", b"x" * one, 0.0))
    assert rows.size_bytes == 17 + 3 * 65
    assert rows.pop(4) is None
    assert [rows.pop(5), rows.pop(5)] == [Row(5, "t", b"xxxxx", 0.0), None]
    assert (len(rows), rows.size_bytes, rows.oldest()) == (2, 12 + 2 * 65, Row(3, "t", b"xxx", 0.0))
    assert [row.id for row in rows] == [3, 9]


def test_rows_counted_as_dropped_and_found_again_are_not_dropped():
    ledger = balanced(Ledger(enqueued=10, dropped_by_queue=4, pending=8), 0)
    assert (ledger.dropped_by_queue, ledger.enqueued) == (2, 10)
