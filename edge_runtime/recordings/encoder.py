"""Makes files of captured pictures on a few threads of low priority, and gives them back in the order they came in."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from edge_runtime.recordings.pictures import encode_array, name_suffix
from edge_runtime.system.priority import lower_this_thread

MOST_THREADS = 4
AHEAD = 2
"""Pictures for each thread that may be under way: further ones wait in the daemon's queue, which is bounded."""

Encoded = tuple[dict[str, Any], bytes, str]
"""What is known of the frame, its file and how that ends."""


class PictureEncoder:
    """For one thread that puts and takes. A picture of 1920 x 1080 takes 70 ms of a small core, hence the threads."""

    def __init__(self, threads: int | None = None) -> None:
        """``threads``: None as many as this process has CPUs, four at most."""
        count = threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(count, "encode", initializer=lower_this_thread)
        self._under_way: deque[Future[Encoded]] = deque()
        self._most = AHEAD * count

    def put(self, about: dict[str, Any], data: bytes) -> None:
        """A frame: the bytes of a file, or with ``dtype`` and ``shape`` those of an array."""
        self._under_way.append(self._pool.submit(_encode, about, data))

    def take(self, *, is_end: bool = False) -> Iterator[Encoded]:
        """Those that are done; waits for the oldest while too many are under way, for all at the end.

        Raises:
            ValueError: the bytes are no such array.
        """
        while self._under_way and (is_end or len(self._under_way) >= self._most or self._under_way[0].done()):
            yield self._under_way.popleft().result()

    def close(self) -> None:
        """Encode nothing more."""
        self._pool.shutdown(cancel_futures=True)


def _encode(about: dict[str, Any], data: bytes) -> Encoded:
    line = {key: value for key, value in about.items() if key != "dtype"}
    if "dtype" not in about:
        return line, data, name_suffix(data)
    picture = np.frombuffer(data, np.dtype(str(about["dtype"]))).reshape(about["shape"])
    return line, *encode_array(picture, about.get("colour"))
