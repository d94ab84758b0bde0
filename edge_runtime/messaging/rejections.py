"""How many rejections are published: a source whose every picture is bad must not push results out of the outbox. Pure.

Each stream has an allowance that fills up steadily. Those beyond it are counted; the next one that is published carries
their number, and when none comes the last of them is published as soon as the allowance has room for it.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edge_runtime.messaging.token_bucket import TokenBucket

BURST = 1000
"""Rejections of one stream in a row: a folder of bad pictures is named completely."""
RATE_PER_S = 10.0

T = TypeVar("T")


@dataclass(slots=True)
class _Stream(Generic[T]):
    bucket: TokenBucket
    last: T | None = None
    """The last one that was not published; None when all were."""
    unsaid: int = 0


@dataclass(slots=True)
class RejectionQuota(Generic[T]):
    """The allowances of all streams, for rejections of type ``T``; not safe from several threads at a time."""

    rate_per_s: float = RATE_PER_S
    burst: int = BURST
    _streams: dict[str, _Stream[T]] = field(default_factory=dict)

    def take(self, stream: str, rejection: T, now_s: float) -> int | None:
        """How many rejections of the stream were not published since its last one; None when this one is not either.

        ``now_s`` is monotonic.
        """
        one = self._streams.get(stream)
        if one is None:
            one = self._streams[stream] = _Stream(TokenBucket(self.rate_per_s, self.burst))
        if not one.bucket.take(now_s):
            one.last, one.unsaid = rejection, one.unsaid + 1
            return None
        unsaid, one.last, one.unsaid = one.unsaid, None, 0
        return unsaid

    def take_last(self, now_s: float, *, is_end: bool = False) -> list[tuple[T, int]]:
        """The last rejection of each stream that was not published and may be now, and how many others were not.

        ``is_end``: no more comes, so each may be published.
        """
        found = []
        for one in self._streams.values():
            if one.last is not None and (is_end or one.bucket.take(now_s)):
                found.append((one.last, one.unsaid - 1))
                one.last, one.unsaid = None, 0
        return found
