"""The life of an object on one stream: when it is announced, when it is told of again, and when it has gone. Pure.

A track is a candidate until it was seen in ``min_frames`` frames; then the object is *new*. While it is seen there is
an *update* every ``update_every_s``. Once it was not seen for ``lost_s`` it *ends*, and a track that comes back later
is another object. Its label is the one with the largest sum of scores over all frames.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_runtime.datatypes import Detection

Kind = Literal["new", "update", "end"]
Why = Literal["lost", "off", "stopped", "restarted"]
"""It is not seen any more; objects of this camera are not followed any more; the daemon ends; it had ended without a
word."""
MOST_CANDIDATES = 500


@dataclass(frozen=True, slots=True)
class LifeRules:
    """See the module."""

    min_frames: int
    lost_s: float
    update_every_s: float
    most: int
    """Objects at a time."""
    labels: frozenset[str] = frozenset()
    """Only such objects are announced; empty: all."""


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What is known of an object. ``box`` is (x1, y1, x2, y2) in pixels of the frame."""

    id: str
    """Unique for ever: that of the result which made it certain, and a number."""
    label: str
    score: float
    """Of the newest box."""
    top_score: float
    box: tuple[float, float, float, float]
    frames: int
    """In which it was seen."""
    started_at_wall_s: float
    seen_at_wall_s: float
    """Both by the clock of the frames, as the first and the newest box."""


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One step in the life of an object."""

    kind: Kind
    before: ObjectState | None
    """As it was told last; None of a new one."""
    after: ObjectState
    why: Why | None = None
    """Of an end."""


@dataclass(slots=True)
class _Track:
    started_at_wall_s: float
    votes: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    frames: int = 0
    top_score: float = 0.0
    newest: Detection | None = None
    seen_at_s: float = 0.0
    seen_at_wall_s: float = 0.0
    id: str | None = None
    told: ObjectState | None = None
    told_at_s: float = 0.0

    def see(self, found: Detection, now_s: float, wall_s: float) -> None:
        """It is in one more frame."""
        self.votes[found.label] += found.score
        self.frames, self.newest = self.frames + 1, found
        self.top_score = max(self.top_score, found.score)
        self.seen_at_s, self.seen_at_wall_s = now_s, wall_s

    @property
    def label(self) -> str:
        """The one with the most votes."""
        return max(self.votes, key=lambda one: (self.votes[one], one))

    def describe(self) -> ObjectState:
        """Of one that was announced."""
        assert self.newest is not None, "a track has been seen"
        assert self.id is not None, "it was announced"
        return ObjectState(self.id, self.label, self.newest.score, self.top_score, self.newest.box, self.frames,
                           self.started_at_wall_s, self.seen_at_wall_s)  # fmt: skip


class StreamObjects:
    """The objects of one stream. Times are monotonic seconds, those ending in ``wall_s`` the frame's own."""

    def __init__(self, rules: LifeRules) -> None:
        self.rules = rules
        self._tracks: dict[int, _Track] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is followed, not even a candidate."""
        return not self._tracks

    def states(self) -> dict[str, ObjectState]:
        """The objects that are there, by id, as they are now."""
        return {one.id: one.describe() for one in self._tracks.values() if one.id is not None}

    def update(
        self, frame: str, found: Sequence[tuple[int, Detection]], now_s: float, wall_s: float
    ) -> list[ObjectChange]:
        """What the next frame changes.

        Args:
            frame: Id of its result.
            found: Its boxes, each with the number of its track.
            now_s: When it came, monotonic.
            wall_s: When it was captured.
        """
        changes = self.expire(now_s)
        for number, detection in found:
            track = self._tracks.get(number)
            if track is None:
                if len(self._tracks) >= MOST_CANDIDATES:
                    continue
                track = self._tracks[number] = _Track(wall_s)
            track.see(detection, now_s, wall_s)
            change = (
                self._announce(track, f"{frame}/{number}") if track.id is None else self._tell(track, now_s)
            )
            if change is not None:
                track.told, track.told_at_s = change.after, now_s
                changes.append(change)
        return changes

    def expire(self, now_s: float) -> list[ObjectChange]:
        """The objects that have gone."""
        return self._end([number for number, one in self._tracks.items()
                          if now_s - one.seen_at_s > self.rules.lost_s], "lost")  # fmt: skip

    def end_all(self, why: Why) -> list[ObjectChange]:
        """None is followed any more."""
        return self._end(list(self._tracks), why)

    def _announce(self, track: _Track, name: str) -> ObjectChange | None:
        rules = self.rules
        if track.frames < rules.min_frames or (rules.labels and track.label not in rules.labels):
            return None
        if sum(one.id is not None for one in self._tracks.values()) >= rules.most:
            return None
        track.id = name
        return ObjectChange("new", None, track.describe())

    def _tell(self, track: _Track, now_s: float) -> ObjectChange | None:
        if now_s - track.told_at_s < self.rules.update_every_s:
            return None
        return ObjectChange("update", track.told, track.describe())

    def _end(self, numbers: Sequence[int], why: Why) -> list[ObjectChange]:
        ended = [self._tracks.pop(number) for number in numbers]
        return [ObjectChange("end", one.told, one.describe(), why) for one in ended if one.id is not None]
