"""The goals in ``goals.yaml``: what was asked for, and by which limit a figure meets it."""

from dataclasses import dataclass
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("goals.yaml")


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of a page's first table; the code that measures it has the same key."""

    key: str
    what: str
    asked: str
    least: float | None = None
    """The smallest value that is enough; None where the page only shows text."""
    most: float | None = None
    """The largest one."""
    form: str = "{:.2f}"

    def is_met(self, value: float) -> bool:
        """Whether the value is within the limits."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def goals_of(section: str) -> list[Goal]:
    """The goals of ``accuracy`` or ``performance``, in the order of the file."""
    found = yaml.safe_load(FILE.read_text(encoding="utf-8"))[section]
    return [Goal(key, **facts) for key, facts in found.items()]
