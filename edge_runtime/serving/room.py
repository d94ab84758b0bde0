"""How many requests may be in memory at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from edge_runtime.serving.refusals import full


class Room:
    """For requests and the bytes of their bodies; may be used by the threads of several servers."""

    def __init__(self, most_requests: int, most_bytes: int) -> None:
        self._requests, self._bytes = most_requests, most_bytes
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, size_bytes: int) -> Iterator[None]:
        """Take room for one request.

        Raises:
            Refusal: there is none now.
        """
        with self._lock:
            if self._requests < 1 or self._bytes < size_bytes:
                raise full()
            self._requests, self._bytes = self._requests - 1, self._bytes - size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._requests, self._bytes = self._requests + 1, self._bytes + size_bytes
