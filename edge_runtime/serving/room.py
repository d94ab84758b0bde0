"""How many requests may be in memory at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_runtime.serving.refusals import full

PICTURE_KEY = "pictures.max_file_mib"
LARGEST_BODIES = 2
"""Memory for bodies under way, in largest ones."""


class Room:
    """For requests and the bytes of their bodies; may be used by the threads of several servers."""

    def __init__(self, most_requests: int, most_bytes: int) -> None:
        self._requests, self._bytes = most_requests, most_bytes
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, size_bytes: int) -> Iterator["Place"]:
        """Take room for one request.

        Raises:
            Refusal: there is none now.
        """
        place = Place(self, size_bytes)
        self._take(1, size_bytes)
        try:
            yield place
        finally:
            self._take(-1, -place.size_bytes)

    def _take(self, requests: int, size_bytes: int) -> None:
        with self._lock:
            if self._requests < requests or self._bytes < size_bytes:
                raise full()
            self._requests, self._bytes = self._requests - requests, self._bytes - size_bytes

    def resize(self, place: "Place", size_bytes: int) -> None:
        """Take more or less room for a request that has some.

        Raises:
            Refusal: there is no more now; it keeps what it had.
        """
        self._take(0, size_bytes - place.size_bytes)
        place.size_bytes = size_bytes


@dataclass(eq=False)
class Place:
    """The room of one request."""

    room: Room
    size_bytes: int

    def resize(self, size_bytes: int) -> None:
        """See ``Room.resize``."""
        self.room.resize(self, size_bytes)
