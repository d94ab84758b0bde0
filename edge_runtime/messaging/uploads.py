"""Chunks of a bundle on their way in: those that an installation waits for, and no others."""

import queue
import threading
from collections import Counter
from collections.abc import Callable

from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.mqtt.message import Message

MOST_WAITING_BYTES = 8 * 2**20
"""In memory, until the disk has them; what comes beyond is dropped and has to be sent again."""


class Uploads:
    """Subscribed only while something is waited for. ``take`` and the rest are one thread's."""

    def __init__(
        self,
        find_connection: Callable[[], BrokerConnection],
        name_chunk: Callable[[bytes], str],
        most_chunk_bytes: int,
    ) -> None:
        """Nothing is wanted yet.

        Args:
            find_connection: Gives the connection of now: an edit may replace it meanwhile.
            name_chunk: Gives the name that a chunk must have.
            most_chunk_bytes: Longer ones are dropped.
        """
        self._find_connection, self._name_chunk = find_connection, name_chunk
        self._most_chunk_bytes = most_chunk_bytes
        self._wanted: frozenset[str] = frozenset()
        self._connection: BrokerConnection | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lock, self._waiting_bytes = threading.Lock(), 0
        self._counts = Counter(taken=0, dropped=0)

    @property
    def counts(self) -> dict[str, int]:
        """Messages below ``upload/`` since the start.

        ``dropped``: nobody waits for such a chunk (any more), it is too long, or too many wait.
        """
        with self._lock:
            return dict(self._counts)

    @property
    def problem(self) -> str | None:
        """Why none can come; None when they can."""
        connection = self._connection
        if connection is None or connection.client is None or connection.client.session is None:
            return "the broker is away"
        if not connection.client.is_subscribed(connection.topics.uploads):
            return f"the broker does not let this device subscribe to {connection.topics.uploads}"
        return None

    def want(self, names: frozenset[str]) -> None:
        """Take chunks with these names from now on, over the connection of now; none: leave it."""
        self._wanted = names
        connection = self._find_connection()
        if names and connection is not self._connection:
            self._leave()
            self._connection = connection
            if connection.client is not None:
                self._unsubscribe = connection.client.subscribe(connection.topics.uploads, self._put)
        elif not names:
            self._leave()
            self._drain()

    def take(self, timeout_s: float) -> bytes | None:
        """The next chunk; None when none came in time."""
        try:
            data = self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
        with self._lock:
            self._waiting_bytes -= len(data)
        return data

    def _put(self, message: Message) -> None:
        """In the network thread. Hashed here, or bytes under a wrong name would take the room of others."""
        data, name = message.payload, message.topic.rpartition("/")[2]
        is_wanted = name in self._wanted and 0 < len(data) <= self._most_chunk_bytes
        is_wanted = is_wanted and self._name_chunk(data) == name
        with self._lock:
            is_taken = is_wanted and self._waiting_bytes + len(data) <= MOST_WAITING_BYTES
            self._waiting_bytes += len(data) if is_taken else 0
            self._counts["taken" if is_taken else "dropped"] += 1
        if is_taken:
            self._queue.put(data)

    def _leave(self) -> None:
        self._unsubscribe()
        self._connection, self._unsubscribe = None, lambda: None

    def _drain(self) -> None:
        while self.take(0.0) is not None:
            pass
