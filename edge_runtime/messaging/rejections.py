"""How many rejections are published: a source whose every picture is bad must not push results out of the outbox. Pure.

Each stream has an allowance that fills up steadily. Those beyond it are counted, and the next one that is published
carries their number.
"""

from dataclasses import dataclass, field

BURST = 1000
"""Rejections of one stream in a row: a folder of bad pictures is named completely."""
RATE_PER_S = 10.0


@dataclass(slots=True)
class _Stream:
    allowance: float
    at_s: float
    unsaid: int = 0


@dataclass(slots=True)
class RejectionQuota:
    """The allowances of all streams; not safe from several threads at a time."""

    rate_per_s: float = RATE_PER_S
    burst: int = BURST
    _streams: dict[str, _Stream] = field(default_factory=dict)

    def take(self, stream: str, now_s: float) -> int | None:
        """How many rejections of the stream were not published since its last one; None when this one is not either.

        ``now_s`` is monotonic.
        """
        one = self._streams.setdefault(stream, _Stream(float(self.burst), now_s))
        passed_s = max(0.0, now_s - one.at_s)
        one.allowance, one.at_s = min(self.burst, one.allowance + passed_s * self.rate_per_s), now_s
        if one.allowance < 1.0:
            one.unsaid += 1
            return None
        one.allowance -= 1.0
        unsaid, one.unsaid = one.unsaid, 0
        return unsaid
