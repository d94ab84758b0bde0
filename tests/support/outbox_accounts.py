"""What must hold of an outbox's account at any moment: in memory, and in the file."""

import sqlite3

from edge_runtime.messaging.outbox.ledger import Ledger


def assert_balanced(ledger):
    assert ledger.enqueued == ledger.delivered + ledger.dropped + ledger.pending, ledger


def assert_file_agrees(path):
    """The account in the file is that of its rows."""
    with sqlite3.connect(path) as db:
        rows, size = db.execute("SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM waiting").fetchone()
        names = [name for _, name, *_ in db.execute("PRAGMA table_info(ledger)")][1:]
        ledger = Ledger(*db.execute(f"SELECT {', '.join(names)} FROM ledger").fetchone())
    db.close()
    assert (ledger.pending, ledger.pending_bytes) == (rows, size)
    assert_balanced(ledger)
    return ledger
