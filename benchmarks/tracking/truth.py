"""Events compared with labels: which person an event is of, and how often a person changes the event. Pure.

Files have MOTChallenge's format: frame, id, left, top, width, height, score, ... (Leal-Taixe et al. 2015).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
LEAST_OVERLAP = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file."""

    id: int
    box: Box
    score: float


def read_rows(file: Path) -> dict[int, list[Row]]:
    """The rows of each frame."""
    rows = defaultdict[int, list[Row]](list)
    for line in file.read_text().splitlines():
        frame, name, left, top, width, height, score = map(float, line.split(",")[:7])
        rows[int(frame)].append(Row(int(name), (left, top, left + width, top + height), score))
    return rows


@dataclass(slots=True)
class Comparison:
    """What became of each labelled person."""

    events: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By person, the event in each frame in which it was found."""
    persons: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """By event, in how many frames it was on which person."""
    labelled: set[int] = field(default_factory=set)

    def add(self, truth: Sequence[Row], shown: Mapping[str, Box]) -> None:
        """One frame: the labels, and the boxes of the events. Pairs are taken by overlap, the largest first."""
        self.labelled.update(one.id for one in truth)
        pairs = sorted(_overlaps(truth, shown), reverse=True)
        people, events = set[int](), set[str]()
        for _, person, event in pairs:
            if person not in people and event not in events:
                people.add(person)
                events.add(event)
                self.events[person].append(event)
                self.persons[event][person] += 1

    def switches(self) -> int:
        """How often the event of a person is another one than in the frame before in which it was found."""
        return sum(sum(a != b for a, b in pairwise(seen)) for seen in self.events.values())

    def own_events(self) -> Counter[int]:
        """By person, the number of events that are mostly of it."""
        return Counter(found.most_common(1)[0][0] for found in self.persons.values())


def _overlaps(truth: Sequence[Row], shown: Mapping[str, Box]) -> Iterable[tuple[float, int, str]]:
    for one in truth:
        for event, box in shown.items():
            overlap = find_overlap(one.box, box)
            if overlap >= LEAST_OVERLAP:
                yield overlap, one.id, event


def find_overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0..1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
