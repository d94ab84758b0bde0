"""Which baseline the camera is nearest to: chosen by itself, with hysteresis, so that dusk does not make it flap. Pure.

A site has several healthy states (day, night, winter), a baseline each. The scores of all are known all the time;
they are compared as shares of their own thresholds. Another baseline takes over when the camera is *as that one
says*, at half the distance of the one in use or less, for two windows. When none fits, the one in use stays: what
the camera sees then is a drift of the state it was in.
"""

from collections.abc import Mapping

FITS = 1.0
"""Below its own threshold."""
MARGIN = 0.5
"""How much nearer another baseline must be; twice in a row back and forth needs a factor of four."""
KEPT = 0.5
"""One in use that fits this well is kept: two baselines of like states would take turns by chance."""


class NearestBaseline:
    """The baseline in use."""

    def __init__(self, in_use: str, patience_frames: int) -> None:
        """``patience_frames`` is how long another one must lead; as long as two windows are apart."""
        self.in_use, self._patience = in_use, patience_frames
        self._leader: str | None = None
        self._led_frames = 0

    def after(self, shares: Mapping[str, float]) -> bool:
        """Take in one more frame's scores (as shares of the thresholds) by baseline; True when another took over."""
        leader = self._challenger(shares)
        self._led_frames = self._led_frames + 1 if leader is not None and leader == self._leader else 0
        self._leader = leader
        if leader is None or self._led_frames < self._patience:
            return False
        self.in_use, self._leader, self._led_frames = leader, None, 0
        return True

    def _challenger(self, shares: Mapping[str, float]) -> str | None:
        others = {name: share for name, share in shares.items() if name != self.in_use}
        own = shares.get(self.in_use)
        if not others or own is None or own < KEPT:
            return None
        best = min(others, key=lambda name: others[name])
        return best if others[best] < FITS and others[best] <= MARGIN * own else None
