"""What the evaluation writes down: one JSON line a figure, so that a run can be interrupted, resumed and drawn again.

No model and no policy here. Tracks make the rows, ``evaluation`` keeps them, ``pages`` and ``plots`` read them.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

import orjson

FASHION_MNIST, PHOTO_CUTOUTS, PEDESTRIANS, PARITY = "fashion_mnist", "photo_cutouts", "pedestrians", "parity"
SIGNALS = "signals"
LETTERS = {"a": FASHION_MNIST, "b": PHOTO_CUTOUTS, "c": PEDESTRIANS}
"""Older names of the tracks, in records and on the command line."""
IID = "iid"
GATE = "gate"
MOMENTS = "moments"
"""The gate over candidates by moments alone: nothing is distilled."""
NOTHING = "none"
TENT, TENT_LONG = "float, TENT", "float, TENT, 5 passes"
TENT_STILL = "float, TENT, 5 passes, training statistics"
ZEROTH_ORDER = "zeroth order"
CANDIDATE = "candidate"
"""One candidate, named in ``chosen``: measured to judge the gate, never used by it."""


class NotInstalled(Exception):
    """A track's pictures are missing; the message names the package that brings them."""


class RecordsDamaged(Exception):
    """A line of the records cannot be read; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Case:
    """One situation that methods are compared in."""

    track: str
    """A name such as ``FASHION_MNIST``."""
    seed: int
    drift: str
    """A name of ``accuracy.drifts.by_name``; several joined with ``+`` are mixed in one reference, with ``&`` each
    picture is under all of them."""
    severity: int
    """0 to 5."""
    n: int
    """Reference pictures."""
    stream: str = IID
    """How they follow each other; see ``benchmarks.accuracy.drifts.streams``."""
    baseline: int = 0
    """Healthy pictures in the baseline; 0 is as many as the track has."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one method did in one case. Figures are accuracies, or F1 for a detector, 0 to 1."""

    case: Case
    method: str
    healthy: float
    """The unpatched model without the drift."""
    before: float
    """The unpatched model under it."""
    after: float
    """The model as the method left it, under it."""
    chosen: str = ""
    """The candidate that was taken, ``identity`` for none."""
    accepted: bool = False
    seconds: float = 0.0
    detail: dict[str, float] = field(default_factory=dict)
    """Further figures, e.g. the gate's scores of a candidate."""


class Records:
    """The rows of one results folder, a file a track."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> list[Row]:
        """All rows of whole cases, oldest first; of a case measured again, the newer ones.

        Raises:
            RecordsDamaged: a line is not a row. What a kill left unfinished is left out instead.
        """
        found = [row for path in sorted(self._folder.glob("track-*.jsonl")) for row in _read(path)]
        whole = {row.case for row in found if row.method == NOTHING}
        newest = {(row.case, row.method, row.method == CANDIDATE and row.chosen): row for row in found}
        return [row for row in newest.values() if row.case in whole]

    def done(self) -> frozenset[Case]:
        """The cases that need not run again."""
        return frozenset(row.case for row in self.load())

    def append(self, rows: Iterable[Row]) -> None:
        """Write the rows of whole cases; the row of the method ``none`` comes last and marks its case as done."""
        self._folder.mkdir(parents=True, exist_ok=True)
        in_order = sorted(rows, key=lambda row: (row.case.track, row.method == NOTHING))
        for track, group in groupby(in_order, key=lambda row: row.case.track):
            path = self._folder / f"track-{track}.jsonl"
            cut_after_last_line(path)
            with path.open("ab") as file:
                file.write(b"".join(map(to_line, group)))

    def clear(self, tracks: Iterable[str]) -> None:
        """Forget everything about these tracks."""
        for track in tracks:
            for name in (track, *(letter for letter, of in LETTERS.items() if of == track)):
                (self._folder / f"track-{name}.jsonl").unlink(missing_ok=True)


def to_line(row: Row) -> bytes:
    """The row as one flat JSON object and a line end; figures with five digits behind the point."""
    flat = asdict(row)
    flat = flat.pop("case") | flat
    rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in flat.items()}
    rounded["detail"] = {key: round(value, 5) for key, value in row.detail.items()}
    return orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> Row:
    """The row of one line.

    Raises:
        ValueError: it is none.
    """
    try:
        flat = orjson.loads(line)
        flat["track"] = LETTERS.get(flat["track"], flat["track"])
        case = Case(**{name: flat.pop(name) for name in Case.__dataclass_fields__})
        return Row(case=case, **flat)
    except (KeyError, TypeError, AttributeError) as err:
        raise ValueError(f"not a row: {err}") from err


def cut_after_last_line(path: Path) -> None:
    """Remove what a kill left of a line: the next one would become unreadable with it."""
    if path.is_file() and not (data := path.read_bytes()).endswith(b"\n"):
        path.write_bytes(data[: data.rfind(b"\n") + 1])


def _read(path: Path) -> Iterable[Row]:
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith(b"\n"):
            return  # killed while writing it; its case will run again
        try:
            yield from_line(line)
        except ValueError as err:
            raise RecordsDamaged(f"{path}, line {number}: {err}. Remove it, or run with --fresh.") from err
