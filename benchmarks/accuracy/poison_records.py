"""What became of poisoned reference sets, one JSON line each: a run can be interrupted, and the pages count them.

No model here.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from benchmarks.accuracy.records import RecordsDamaged, cut_after_last_line

ALLOWED_LOSS = 0.01
"""More than a point is harm."""


@dataclass(frozen=True, slots=True)
class PoisonRow:
    """What one poisoned reference set led to."""

    track: str
    seed: int
    poison: str
    camera: str
    answer: str
    """``error``, ``refused`` or the accepted candidate."""
    reason: str
    before: float
    """Accuracy on the unpoisoned test pictures of this camera."""
    after: float
    spoilt_before: float | None = None
    """The same on test pictures spoilt alike; None for mixtures and where nothing was accepted."""
    spoilt_after: float | None = None
    seconds: float = 0.0

    @property
    def is_accepted(self) -> bool:
        """Whether a patch came of it."""
        return self.answer not in ("error", "refused")

    @property
    def harm(self) -> float:
        """Accuracy lost on pictures like those that the reference stands for, >= 0."""
        if self.spoilt_before is not None and self.spoilt_after is not None:
            return max(0.0, self.spoilt_before - self.spoilt_after)
        return max(0.0, self.before - self.after)

    @property
    def is_costly_lie(self) -> bool:
        """Whether the camera loses by a patch that fits what the reference shows and not what the camera sees."""
        return self.spoilt_after is not None and self.before - self.after > ALLOWED_LOSS

    @property
    def is_harmful(self) -> bool:
        """Whether more than a point was lost."""
        return self.harm > ALLOWED_LOSS


class PoisonRecords:
    """The rows in one results folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "poison.jsonl"

    def load(self) -> list[PoisonRow]:
        """All rows, oldest first; what a kill left unfinished is left out.

        Raises:
            RecordsDamaged: a line is not a row.
        """
        if not self._path.is_file():
            return []
        return list(self._rows(self._path.read_bytes().splitlines(keepends=True)))

    def append(self, row: PoisonRow) -> None:
        """Write one row."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        cut_after_last_line(self._path)
        with self._path.open("ab") as file:
            file.write(
                orjson.dumps(asdict(row), option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)
            )

    def _rows(self, lines: list[bytes]) -> Iterator[PoisonRow]:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield PoisonRow(**orjson.loads(line))
            except (TypeError, ValueError) as err:
                raise RecordsDamaged(f"{self._path}, line {number}: {err}. Remove the line.") from err
