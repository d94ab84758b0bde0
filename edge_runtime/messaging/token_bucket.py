"""An allowance that fills up steadily: so many at once, and so many a second in the long run. Pure."""

from math import inf


class TokenBucket:
    """See the module; full at first."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._tokens, self._at_s = float(burst), inf

    def take(self, now_s: float) -> bool:
        """Whether one more is allowed, which it then counts; ``now_s`` is monotonic, earlier times add nothing."""
        passed_s = max(0.0, now_s - self._at_s)
        self._tokens, self._at_s = min(self._burst, self._tokens + passed_s * self._rate_per_s), now_s
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
