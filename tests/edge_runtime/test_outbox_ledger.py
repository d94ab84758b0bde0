"""outbox_ledger: the account balances whatever a failed disk left behind."""

from dataclasses import replace

from edge_runtime.outbox_ledger import Ledger, balanced, continued, newest


def assert_balanced(ledger):
    assert ledger.enqueued == ledger.delivered + ledger.dropped + ledger.pending, ledger


def test_late_opening_adds_what_was_counted_before():
    found = Ledger(enqueued=10, delivered=4, pending=6, next_id=11)
    ledger = continued(found, Ledger(enqueued=3, delivered=1, next_id=1 << 40))
    assert (ledger.enqueued, ledger.delivered, ledger.pending, ledger.next_id) == (13, 5, 6, 1 << 40)
    assert_balanced(replace(balanced(ledger, 2), pending=8))


def test_a_commit_that_failed_only_seemingly_is_taken_from_the_file():
    running = Ledger(enqueued=12, delivered=2, pending=5, next_id=13)
    found = Ledger(enqueued=12, delivered=4, pending=8, next_id=13)
    ledger = balanced(newest(found, running), 0)
    assert (ledger.delivered, ledger.pending, ledger.dropped) == (4, 8, 0)
    assert_balanced(ledger)


def test_rows_counted_as_dropped_and_found_again_are_not_dropped():
    ledger = balanced(Ledger(enqueued=10, dropped_by_queue=4, pending=8), 0)
    assert (ledger.dropped_by_queue, ledger.enqueued) == (2, 10)
