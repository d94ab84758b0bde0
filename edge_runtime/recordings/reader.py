"""Reads a recording that may come from anywhere: every path stays in its folder, every size is checked before use."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from calibration.stats.regular_file import open_regular, read_whole
from edge_runtime.datatypes import Anomaly, Detection, Frame, Label, Value
from edge_runtime.deployment.model_state import PATCH_ID
from edge_runtime.errors import RecordingError
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.npy import read_npy
from edge_runtime.inference.postprocess.postprocessor import Answer
from edge_runtime.inference.preprocess import PictureLimits
from edge_runtime.recordings.manifest import (
    ANSWERS_FILE,
    BASELINES,
    CONFIG_FILE,
    FRAMES_FILE,
    MANIFEST_FILE,
    PATCHES,
    AnswerLine,
    FrameLine,
    Manifest,
)
from edge_runtime.recordings.pictures import decode_png
from edge_runtime.system.rfc3339 import parse_rfc3339

MOST_MANIFEST_BYTES = 2**20
MOST_LINE_BYTES = 64 * 2**20
MOST_FRAMES = 1_000_000
_COPY_AGAIN = "Copy the recording again, or record anew."
_LIMITS = PictureLimits()
_DTYPE = re.compile(r"bool|float(16|32|64)|u?int(8|16|32|64)")

L = TypeVar("L", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """What the daemon answered to one frame."""

    model: str
    generation: str | None
    answer: Answer | None
    """None: it was rejected."""
    rejected: str | None
    raw: dict[str, NDArray[Any]] | None
    """Outputs of the model, without the batch axis; None: they were too large to be kept."""
    infer_ms: float | None


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording, without its pictures."""

    folder: Path
    manifest: Manifest
    frames: tuple[FrameLine, ...]
    answers: Mapping[tuple[str, int], RecordedAnswer]

    @property
    def is_whole(self) -> bool:
        """Whether it came to its end."""
        return self.manifest.ended is not None

    def read_frame(self, line: FrameLine) -> Frame:
        """The frame as it was captured.

        Raises:
            RecordingError: its file is missing, or another one.
        """
        path = self.folder / line.file
        data = self._read(path, line.size_bytes)
        if hashlib.sha256(data).hexdigest() != line.sha256:
            raise RecordingError(path, "another file than was recorded", "the recorded one", _COPY_AGAIN)
        picture: Any = data
        if line.rate_hz is not None:
            picture = _read_window(path, data, line.shape)
        elif line.shape is not None and line.file.endswith(".png"):
            try:
                _LIMITS.check_size(line.shape[1], line.shape[0], 2)
                picture = decode_png(data, line.shape, line.colour)
            except (ValueError, IndexError, InputFlaw) as err:
                expected = f"a picture of shape {list(line.shape)}, as {FRAMES_FILE} says"
                raise RecordingError(path, str(err), expected, _COPY_AGAIN) from err
        return Frame(
            stream=line.stream,
            seq=line.seq,
            payload=picture,
            captured_at_s=0.0,
            captured_at_wall_s=(
                _moment(self.folder / FRAMES_FILE, line.captured_at)
                if line.ended_at_s is None
                else line.ended_at_s
            ),
            colour=line.colour,
            is_tensor=line.is_tensor and not isinstance(picture, bytes),
            rate_hz=line.rate_hz,
            channels=line.channels,
        )

    def patch_path(self, model: str, patch: str) -> Path:
        """Of a patch that answered; may be missing.

        Raises:
            RecordingError: this names no patch, or leads out of the folder.
        """
        if not PATCH_ID.fullmatch(patch):
            found = f"answers of {patch[:64]!r}, which is no patch"
            raise RecordingError(self.folder / ANSWERS_FILE, found, "the id of one, such as p3", _COPY_AGAIN)
        return self._inside(PATCHES, model, f"{patch}.safetensors")

    def baseline_path(self, model: str) -> Path:
        """Of the baseline that was in use; may be missing.

        Raises:
            RecordingError: it leads out of the folder.
        """
        return self._inside(BASELINES, f"{model}.safetensors")

    def read_config(self) -> str:
        """The configuration that was in force, without secrets.

        Raises:
            RecordingError: it cannot be read.
        """
        return self._read(self.folder / CONFIG_FILE, MOST_MANIFEST_BYTES).decode("utf-8", "replace")

    def _read(self, path: Path, most_bytes: int) -> bytes:
        return _read(self.folder, path, most_bytes)

    def _inside(self, *parts: str) -> Path:
        path = self.folder.joinpath(*parts)
        _require_inside(self.folder, path)
        return path


def open_recording(folder: Path) -> Recording:
    """Open and check a recording; its pictures are read one by one later.

    Of one that was cut off, frames whose pictures are not whole are left out at the end.

    Raises:
        RecordingError: it is none, of a newer version, or damaged.
    """
    manifest = _read_manifest(folder)
    frames = list(_read_lines(folder / FRAMES_FILE, FrameLine, folder))
    if len({line.key for line in frames}) < len(frames):
        raise RecordingError(folder / FRAMES_FILE, "a frame twice", "every frame once", _COPY_AGAIN)
    while manifest.ended is None and frames and not _is_whole(folder, frames[-1]):
        frames.pop()
    answers = {
        (line.stream, line.seq): _read_answer(folder / ANSWERS_FILE, line)
        for line in _read_lines(folder / ANSWERS_FILE, AnswerLine, folder)
    }
    return Recording(folder, manifest, tuple(frames), answers)


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        fix = "Name the folder that 'edge-runtime record --out' wrote."
        raise RecordingError(folder, f"no {MANIFEST_FILE}", "the folder of a recording", fix)
    data = _read(folder, path, MOST_MANIFEST_BYTES)
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as err:
        fix = "A newer edge-runtime may have written it: use that one, or record anew."
        raise RecordingError(path, _describe(err), "version 1 of a recording", fix) from err


def _read_lines(path: Path, kind: type[L], folder: Path) -> Iterator[L]:
    """Every whole line; a last one that was cut off is passed over."""
    _require_inside(folder, path)
    try:
        with open_regular(path) as file:
            number = 0
            while line := file.readline(MOST_LINE_BYTES):
                number += 1
                if not line.endswith(b"\n"):
                    if len(line) >= MOST_LINE_BYTES or number > MOST_FRAMES:
                        raise RecordingError(path, f"line {number} has no end", "a shorter line", _COPY_AGAIN)
                    return
                yield _parse(path, number, line, kind)
    except OSError as err:
        raise RecordingError(path, f"cannot be read: {err.strerror}", "a file", _COPY_AGAIN) from err


def _parse(path: Path, number: int, line: bytes, kind: type[L]) -> L:
    if number > MOST_FRAMES:
        raise RecordingError(path, "too many lines", f"at most {MOST_FRAMES}", "Record for a shorter time.")
    try:
        return kind.model_validate_json(line)
    except ValidationError as err:
        raise RecordingError(
            path, f"line {number}: {_describe(err)}", "a line as recorded", _COPY_AGAIN
        ) from err


def _read_answer(path: Path, line: AnswerLine) -> RecordedAnswer:
    try:
        answer = None if line.rejected is not None else _make_answer(line)
        raw = None if line.raw is None else {name: _array(one) for name, one in line.raw.items()}
    except (LookupError, TypeError, ValueError, ArithmeticError) as err:  # the last: numbers that do not fit
        found = f"the answer to frame {line.seq} of {line.stream} cannot be read: {err!r}"
        raise RecordingError(path, found, "an answer as published", _COPY_AGAIN) from err
    infer_ms = line.timings_ms.get("infer")
    return RecordedAnswer(line.model, line.generation, answer, line.rejected, raw, infer_ms)


def _make_answer(line: AnswerLine) -> Answer:
    if line.top is not None:
        return Answer(top=tuple(_label(one) for one in line.top))
    if line.detections is not None:
        return Answer(detections=tuple(_detection(one) for one in line.detections))
    if line.values is not None:
        return Answer(values=tuple(_value(one) for one in line.values))
    if line.anomaly is not None:
        return Answer(anomaly=_anomaly(line.anomaly))
    if line.outputs is None:
        raise ValueError("neither top, detections, values, anomaly, outputs nor rejected")
    return Answer(outputs={name: _array(one) for name, one in line.outputs.items()})


def _label(one: Mapping[str, Any]) -> Label:
    return Label(int(one["index"]), str(one["label"]), float(one["score"]))


def _detection(one: Mapping[str, Any]) -> Detection:
    x1, y1, x2, y2 = (float(edge) for edge in one["box"])
    return Detection(int(one["index"]), str(one["label"]), float(one["score"]), (x1, y1, x2, y2))


def _value(one: Mapping[str, Any]) -> Value:
    limits = one["limits"]
    if limits not in (None, "inside", "below", "above"):
        raise ValueError("an unknown place of a value")
    return Value(str(one["name"]), float(one["value"]), str(one["unit"]), limits)


def _anomaly(one: Mapping[str, Any]) -> Anomaly:
    threshold = one["threshold"]
    return Anomaly(float(one["score"]), None if threshold is None else float(threshold))


def _array(one: Mapping[str, Any]) -> NDArray[Any]:
    if not _DTYPE.fullmatch(str(one["dtype"])):
        raise ValueError("an unknown dtype")
    dtype = np.dtype(one["dtype"])
    values = [np.nan if value is None else value for value in one["data"]]
    return np.array(values, dtype).reshape([int(side) for side in one["shape"]])


def _read_window(path: Path, data: bytes, shape: tuple[int, ...] | None) -> NDArray[np.float64]:
    try:
        numbers = read_npy(data)
    except InputFlaw as err:
        raise RecordingError(path, str(err), "the array file of a window", _COPY_AGAIN) from err
    if numbers.dtype != np.float64 or len(numbers.shape) != 2 or numbers.shape != shape:
        found = f"{numbers.dtype} of shape {list(numbers.shape)}"
        expected = f"float64 (samples, channels) of the shape that {FRAMES_FILE} says"
        raise RecordingError(path, found, expected, _COPY_AGAIN)
    return numbers


def _is_whole(folder: Path, line: FrameLine) -> bool:
    try:
        data = _read(folder, folder / line.file, line.size_bytes)
    except RecordingError:
        return False
    return hashlib.sha256(data).hexdigest() == line.sha256


def _read(folder: Path, path: Path, most_bytes: int) -> bytes:
    _require_inside(folder, path)
    try:
        return read_whole(path, most_bytes)
    except OSError as err:
        found = f"cannot be read: {err.strerror}"
        raise RecordingError(path, found, "a file as recorded", _COPY_AGAIN) from err


def _require_inside(folder: Path, path: Path) -> None:
    """A link in a recording could lead to any file of this machine."""
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # pathlib's word for links that lead to themselves
        is_inside = False
    if not is_inside:
        raise RecordingError(path, "a link that leaves the folder", "files of the recording", _COPY_AGAIN)


def _moment(path: Path, text: str) -> float:
    try:
        return parse_rfc3339(text)
    except ValueError as err:
        raise RecordingError(path, f"captured_at: {err}", "a time as RFC 3339", _COPY_AGAIN) from err


def _describe(err: ValidationError) -> str:
    first = err.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}"[:300]
