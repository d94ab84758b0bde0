"""An allowance that fills up steadily: so many at once, and so many a second in the long run. Pure."""

from math import inf


class TokenBucket:
    """See the module; full at first."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._tokens, self._at_s = float(burst), inf

    def take(self, now_s: float) -> bool:
        """Whether one more is allowed, which it then counts; ``now_s`` is monotonic, earlier times add nothing."""
        if self.wait_s(now_s) > 0.0:
            return False
        self._tokens -= 1.0
        return True

    def wait_s(self, now_s: float) -> float:
        """How long until one more is allowed; 0 when it is now. Counts nothing."""
        passed_s = max(0.0, now_s - self._at_s)
        self._tokens, self._at_s = min(self._burst, self._tokens + passed_s * self._rate_per_s), now_s
        return max(0.0, 1.0 - self._tokens) / self._rate_per_s
