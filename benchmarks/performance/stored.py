"""The measured figures as files: rounds of a part are measured one at a time, days apart if need be, and joined."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

Figures = dict[str, Any]
"""Of one part; most have ``rounds``."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """One run of a part."""

    date: str
    commit: str
    load: float
    """Average of the minute before it began."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A part with all of its rounds."""

    found: Figures
    occasions: tuple[Occasion, ...] = field(default=())

    def joined(self, found: Figures, occasion: Occasion) -> Self:
        """With one run more: its rounds are added, other figures are replaced; without rounds all is replaced."""
        if "rounds" not in self.found or "rounds" not in found:
            return type(self)(found, (occasion,))
        rounds = [*self.found["rounds"], *found["rounds"]]
        return type(self)({**self.found, **found, "rounds": rounds}, (*self.occasions, occasion))


@dataclass(frozen=True, slots=True)
class Store:
    """A folder with a file a part."""

    folder: Path

    def read(self, names: Mapping[str, Any]) -> dict[str, Stored]:
        """Those parts that were measured, in the order of the names."""
        return {name: self._read(name) for name in names if self._file(name).exists()}

    def add(self, name: str, found: Figures, occasion: Occasion) -> None:
        """Join one run with those before."""
        before = self._read(name) if self._file(name).exists() else Stored({})
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file(name).write_text(json.dumps(asdict(before.joined(found, occasion))))

    def forget(self, name: str) -> None:
        """Begin this part anew."""
        self._file(name).unlink(missing_ok=True)

    def _read(self, name: str) -> Stored:
        stored = json.loads(self._file(name).read_text())
        return Stored(stored["found"], tuple(Occasion(**one) for one in stored["occasions"]))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.json"
