"""What is kept of commands: the transactions that were used, and what was obeyed. Pure: the files are elsewhere."""

from dataclasses import dataclass
from typing import Any, Protocol

from edge_runtime.messaging.commands.request import Transaction

DIGEST_BYTES = 24


@dataclass(frozen=True, slots=True)
class Used:
    """A transaction that was used for a change."""

    request: bytes
    """Digest of verb and payload, ``DIGEST_BYTES`` of a SHA-256."""
    answer: bytes | None
    """None when it is not known any more, or not yet."""
    is_under_way: bool = False
    """The change is still being made, by this process."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A change that was obeyed."""

    at_wall_s: float
    by: str | None
    """Name of the caller's key, or of the token after ``http:``; None: it was not signed."""
    verb: str
    arguments: dict[str, Any]
    transaction: str | int | None
    outcome: str
    """``ok``, or why the device did not do it."""


class UsedTransactions(Protocol):
    """Remembers the transactions of changes, also after a kill."""

    @property
    def damaged(self) -> int:
        """How many were lost with a damaged file."""

    def find(self, transaction: Transaction) -> Used | None:
        """A transaction that was begun; None for a new one."""

    def begin(
        self,
        transaction: Transaction,
        request: bytes,
        expires_wall_s: float | None,
        now_wall_s: float,
        *,
        for_owners: bool,
    ) -> None:
        """Note it before the change is made, at least until it expires (None: as long as there is room).

        Times are POSIX. ``for_owners``: only an owner may command it; some room is kept for that.

        Raises:
            StateError: it cannot be noted, so that the change must not be made.
        """

    def finish(self, transaction: Transaction, answer: bytes) -> None:
        """Keep the answer for a repetition, as long as there is room."""
