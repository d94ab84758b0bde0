"""A file of samples, piece by piece: what is in memory does not grow with their number."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from calibration.stats.regular_file import open_regular
from edge_runtime.datatypes import Flaw
from edge_runtime.inference.file_bytes import read_file
from edge_runtime.inference.preparation import read_or_flaw
from edge_runtime.inference.signals.csv_lines import MAX_LINE_BYTES, is_left_out
from edge_runtime.inference.signals.files import payload_of
from edge_runtime.inference.signals.payload import read_payload
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.specs import PayloadSpec, SignalSpec

LINES = 256
"""Of a csv that are read at once; one that cannot be read costs all of them."""
SAMPLES = 4096
_LINE_SUFFIXES = (".jsonl", ".ndjson")

Piece = Readings | Flaw


@dataclass(frozen=True, slots=True)
class PieceReader:
    """Reads pieces as one stream declares them.

    Attributes:
        payload: How they are to be read.
        names: Of the channels.
        rate_hz: Samples a second.
    """

    payload: PayloadSpec
    names: tuple[str, ...]
    rate_hz: float

    @classmethod
    def of(cls, spec: SignalSpec, path: Path) -> "PieceReader":
        """For a file of what a stream sends."""
        payload = payload_of(path, spec.payload)
        if path.suffix.lower() in _LINE_SUFFIXES and payload.format != "json":
            payload = PayloadSpec(format="json", encoding=payload.encoding, rate_hz=payload.rate_hz)
        return cls(payload, spec.channel_names, spec.input_rate_hz)

    def read(self, data: bytes) -> Piece:
        """The samples of a piece, or why there are none."""
        return read_or_flaw(lambda: read_payload(data, self.payload, self.names, self.rate_hz))

    def read_all(self, path: Path, check_bytes: Callable[[int], None]) -> Iterator[Piece]:
        """The pieces of a file.

        Raises:
            InputFlaw, OSError: it cannot be opened, or is too large to be read as a whole.
        """
        if self.payload.encoding.startswith("utf-16"):  # a line's end is not one byte there
            yield from self._read_whole(path, check_bytes)
        elif self.payload.format == "csv":
            lines = _cut_lines(path, LINES, is_left_out, has_header=self.payload.has_header)
            yield from map(self.read, lines)
        elif path.suffix.lower() in _LINE_SUFFIXES:
            lines = _cut_lines(path, 1, lambda line: not line.strip(), has_header=False)
            yield from map(self.read, lines)
        else:
            yield from self._read_whole(path, check_bytes)

    def _read_whole(self, path: Path, check_bytes: Callable[[int], None]) -> Iterator[Piece]:
        piece = self.read(read_file(path, check_bytes))
        if isinstance(piece, Flaw):
            yield piece
            return
        for at in range(0, len(piece), SAMPLES):
            part, times = slice(at, at + SAMPLES), piece.times_wall_s
            yield Readings(piece.numbers[part], None if times is None else times[part])


def _cut_lines(
    path: Path, count: int, is_no_sample: Callable[[bytes], bool], *, has_header: bool
) -> Iterator[bytes]:
    """So many lines at a time, each time behind the header; some are left out."""
    with open_regular(path) as file:
        read = iter(partial(file.readline, MAX_LINE_BYTES), b"")
        lines = (line for line in read if not is_no_sample(line))
        header = next(lines, b"") if has_header else b""
        while block := list(islice(lines, count)):
            yield header + b"".join(block)
