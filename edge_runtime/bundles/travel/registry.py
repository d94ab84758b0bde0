"""What pushing and pulling need of a registry: the port, and how long one waits for a registry that is away."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from edge_runtime.errors import RegistryLost

PATIENCE_S = 60.0
LONGEST_S = 86_400.0
"""Of a push or a pull with all it waits for; what arrived is kept, and the next one goes on."""
GRACE_S = 30.0
"""For which a registry may be slower than :data:`LEAST_BYTES_PER_S`, or say nothing."""
LEAST_BYTES_PER_S = 1024
"""Of one request or answer, and of a whole push or pull; a GPRS modem has five times that."""
ANSWER_BYTES = 4096
"""As which an answer without content counts in a whole push or pull: header lines, and 4 s for a far satellite."""
LEAST_PROGRESS_BYTES = 64 * 1024
"""So much, or the end of a blob, makes patient again: a registry that gives a byte a try would else be asked for ever.
"""
_Answer = TypeVar("_Answer")
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 10.0


@dataclass(frozen=True, slots=True)
class BlobPart:
    """The bytes of a blob from some place on."""

    start: int
    """Where they begin: as asked for, or 0 where the registry gives whole blobs only."""
    chunks: Iterator[bytes]


def ignore_bytes(count: int) -> None:
    """For callers whom progress does not interest."""


class Blobs(Protocol):
    """What gives the bytes of blobs.

    All methods raise ``RegistryLost`` (wait and try again) and ``RegistryRefused`` (an operator must act).
    """

    def open_blob(self, digest: str, start: int, /) -> AbstractContextManager[BlobPart]:
        """A blob's bytes from ``start`` on."""


class Registry(Blobs, Protocol):
    """One repository in a registry."""

    def get_manifest(self, name: str) -> bytes | None:
        """The manifest of a tag or digest; None where there is none."""

    def has_blob(self, digest: str) -> bool:
        """Whether it is there."""

    def start_upload(self) -> str:
        """Begin a blob; what is returned names the upload."""

    def send_chunk(self, upload: str, start: int, data: bytes) -> str:
        """Append bytes; returns the name for the next step."""

    def find_upload(self, upload: str) -> tuple[str, int] | None:
        """The name of an upload for the next step and the bytes that have arrived; None: it is gone."""

    def finish_upload(self, upload: str, digest: str, data: bytes) -> None:
        """Append the last bytes and make the blob."""

    def put_manifest(self, name: str, data: bytes, media_type: str) -> bool:
        """Store a manifest under a tag or its digest; whether the registry now lists it with its subject."""

    def get_referrers(self, digest: str) -> bytes | None:
        """The list of what has this subject; None where the registry keeps no such lists."""


@dataclass(slots=True)
class Patience:
    """Waits for a registry that is away, longer each time; progress makes it patient again."""

    limit_s: float = PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _end_s: float = field(init=False)
    _since_s: float | None = field(default=None, init=False)
    _next_wait_s: float = field(default=_FIRST_WAIT_S, init=False)
    _bytes: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._end_s = self.clock() + LONGEST_S

    def expect(self, size_bytes: int, answers: int) -> None:
        """Bound the time from now on by what is still to travel, at :data:`LEAST_BYTES_PER_S` on the whole.

        Else each of many small files could take the time that a single slow answer may take. ``limit_s`` and
        :data:`GRACE_S` are added once; after :data:`LONGEST_S` all ends anyway.

        Args:
            size_bytes: Of all files.
            answers: How often the registry is asked; each counts :data:`ANSWER_BYTES`.
        """
        travel_s = (size_bytes + answers * ANSWER_BYTES) / LEAST_BYTES_PER_S
        self._end_s = min(self._end_s, self.clock() + self.limit_s + GRACE_S + travel_s)

    def note_progress(self) -> None:
        """A whole answer, or a whole part that was sent, arrived."""
        self._since_s, self._next_wait_s, self._bytes = None, _FIRST_WAIT_S, 0

    def note_bytes(self, count: int) -> None:
        """Some bytes of a blob arrived.

        Raises:
            RegistryLost: see :meth:`check`.
        """
        self._bytes += count
        if self._bytes >= LEAST_PROGRESS_BYTES:
            self.note_progress()
        self.check()

    def check(self) -> None:
        """Before a request.

        Raises:
            RegistryLost: all has taken longer than :data:`LONGEST_S`, or than :meth:`expect` allows.
        """
        if self._is_over():
            slow = f"slower than {LEAST_BYTES_PER_S} bytes a second on the whole"
            raise RegistryLost("registry", f"{slow}, or not done after {LONGEST_S / 3600:g} h")

    def _is_over(self) -> bool:
        return self.clock() >= self._end_s

    def wait(self, lost: RegistryLost) -> None:
        """Wait a little before the next try.

        Raises:
            RegistryLost: the one given, once too little has arrived for ``limit_s``, or all has taken too long.
        """
        now_s = self.clock()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s >= self.limit_s or self._is_over():
            raise lost
        self.sleep(min(self._next_wait_s, max(0.0, self._since_s + self.limit_s - now_s)))
        self._next_wait_s = min(2 * self._next_wait_s, _LONGEST_WAIT_S)

    def repeat(self, action: Callable[[], _Answer]) -> _Answer:
        """The answer of ``action``, which is called again as long as the registry is away.

        Raises:
            RegistryLost: nothing has arrived for ``limit_s``, or all has taken too long.
        """
        while True:
            self.check()
            try:
                answer = action()
            except RegistryLost as lost:
                self.wait(lost)
            else:
                self.note_progress()
                return answer
