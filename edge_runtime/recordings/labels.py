"""Labels that a person gave to recorded frames: lines of ``CAMERA/NUMBER,LABEL`` or ``FILE NAME,LABEL``."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from calibration.stats.regular_file import read_whole
from edge_runtime.errors import RecordingError
from edge_runtime.recordings.reader import Recording

MOST_BYTES = 64 * 2**20
_FORM = (
    "lines such as belt/171,airliner: camera and number of a frame, or the name of its file, then its label"
)


def read_labels(path: Path, recording: Recording) -> Mapping[tuple[str, int], str]:
    """The label of each frame that has one, by camera and number; a first line of titles is passed over.

    Raises:
        RecordingError: the file cannot be read, or names no frame of the recording.
    """
    try:
        lines = read_whole(path, MOST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise RecordingError(path, f"cannot be read: {err}", _FORM, "Write it as CSV in UTF-8.") from err
    keys = {f"{line.stream}/{line.seq}": line.key for line in recording.frames}
    keys |= {line.name: line.key for line in recording.frames if line.name is not None}
    keys |= {line.file.removeprefix("frames/"): line.key for line in recording.frames}
    found = {}
    for number, row in enumerate(_read_rows(path, lines), start=1):
        if len(row) != 2:
            if row:
                raise RecordingError(
                    path, f"line {number} has {len(row)} columns", _FORM, "Correct the line."
                )
            continue
        key = keys.get(row[0].strip())
        if key is not None:
            found[key] = row[1].strip()
    if not found:
        raise RecordingError(path, "no line names a frame of the recording", _FORM, "Look at frames.jsonl.")
    return found


def _read_rows(path: Path, lines: Sequence[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines)
    except csv.Error as err:
        raise RecordingError(path, f"is no CSV: {err}", _FORM, "Correct the file.") from err
