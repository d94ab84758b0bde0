"""Which packets of a live stream are decoded: all, or only key frames, which need no other.

Pure arithmetic on times.
"""

from collections import deque
from typing import Literal

from edge_runtime.system.camera_address import Decode

Decoding = Literal["all", "nonref", "keyframes"]

_SPREAD = 1.05  # of the wanted interval: key frames arrive with some jitter
_DISTANCES = 4
_WATCHED_S = 3.0  # before the first choice: frames that come in a burst say nothing
_LATE = 1.5


class DecodeChoice:
    """What to decode of a stream of which at most ``fps`` frames a second are wanted; None is all.

    ``auto`` decodes all frames until it has seen that each distance between key frames is at most the wanted interval,
    then only key frames, and all again as soon as one is late.
    """

    def __init__(self, decode: Decode, fps: float | None) -> None:
        self._decode = decode
        self._interval_s = None if fps is None else 1 / fps
        self.now: Decoding = "all" if decode == "auto" else decode
        self._distances_s: deque[float] = deque(maxlen=_DISTANCES)
        self._began_s: float | None = None
        self._key_at_s: float | None = None
        self._may_choose = decode == "auto" and fps is not None

    def key_distance_s(self, now_s: float) -> float:
        """The longest of the last distances between key frames, and the one that is growing, seconds."""
        growing_s = 0.0 if self._key_at_s is None else now_s - self._key_at_s
        return max(*self._distances_s, growing_s, 0.0)

    def note_packet(self, at_s: float, *, is_key: bool) -> None:
        """A packet came; times must not go back."""
        late_s = _LATE * (self._interval_s or 0.0)
        if self._may_choose and self._key_at_s is not None and at_s - self._key_at_s > late_s:
            self._start_over()
        if not is_key:
            return
        self._began_s = at_s if self._began_s is None else self._began_s
        if self._key_at_s is not None:
            self._distances_s.append(at_s - self._key_at_s)
        self._key_at_s = at_s
        if self._may_choose and self._are_frequent(at_s):
            self.now = "keyframes"

    def reject_key_frames(self) -> None:
        """What the stream calls a key frame cannot be decoded alone (gradual refresh): decode all from now on."""
        if self._may_choose:
            self._may_choose, self.now = False, "all"

    def _start_over(self) -> None:
        self.now = "all"
        self._distances_s.clear()
        self._began_s = self._key_at_s = None

    def _are_frequent(self, at_s: float) -> bool:
        assert self._began_s is not None, "only asked at a key frame"
        assert self._interval_s is not None, "only asked where fps is limited"
        return (
            len(self._distances_s) == _DISTANCES
            and at_s - self._began_s >= _WATCHED_S
            and self.key_distance_s(at_s) <= self._interval_s * _SPREAD
        )
