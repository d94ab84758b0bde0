"""Writes a recording: a frame's line is added when its picture is whole, so that a kill leaves what was recorded."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import orjson

from edge_runtime.errors import StateError
from edge_runtime.recordings.manifest import (
    ANSWERS_FILE,
    CONFIG_FILE,
    FRAMES_FILE,
    MANIFEST_FILE,
    PICTURES,
    Counts,
    Ended,
    FrameLine,
    Manifest,
)
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.disk import SPARE_BYTES, as_state_error


class RecordingFull(Exception):
    """A limit is reached; the text says which."""


class RecordingWriter:
    """One recording in a new folder, which only its user may read."""

    def __init__(self, folder: Path, manifest: Manifest, config_text: str, most_bytes: int) -> None:
        """Begin it.

        Raises:
            StateError: the folder has something in it already, or cannot be written.
        """
        self._folder, self._manifest, self._most_bytes = folder, manifest, most_bytes
        self.frames = self.answers = self.picture_bytes = self.answer_bytes = 0
        with as_state_error(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise StateError(f"{folder} is not empty; name a new folder for the recording")
        write_atomically(folder / CONFIG_FILE, config_text.encode())
        self._write_manifest(manifest)
        with as_state_error(folder):
            self._frame_lines = _create(folder / FRAMES_FILE)
            self._answer_lines = _create(folder / ANSWERS_FILE)

    def add_frame(self, about: dict[str, Any], data: bytes, suffix: str) -> None:
        """One frame; ``about`` has the fields of a ``FrameLine`` but those of its file.

        Raises:
            RecordingFull: it does not fit any more.
            StateError: the disk refuses.
        """
        if self.picture_bytes + self.answer_bytes + len(data) > self._most_bytes:
            raise RecordingFull(f"it has {self._most_bytes >> 20} MiB; --max-mib allows more")
        name = f"{PICTURES}/{about['stream']}/{about['seq']:09d}.{suffix}"
        line = FrameLine(
            **about, file=name, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
        ).model_dump_json(exclude_defaults=True)
        path = self._folder / name
        with as_state_error(path):
            if shutil.disk_usage(self._folder).free < len(data) + SPARE_BYTES:
                raise RecordingFull(f"the disk of {self._folder} is full")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = _create(path)
            try:
                _write(file, data)
            finally:
                os.close(file)
            _write(self._frame_lines, line.encode() + b"\n")
        self.frames += 1
        self.picture_bytes += len(data)

    def add_answer(self, answer: dict[str, Any]) -> None:
        """One answer, with the fields of an ``AnswerLine`` and whatever else was published.

        Raises:
            StateError: the disk refuses.
        """
        with as_state_error(self._folder / ANSWERS_FILE):
            line = orjson.dumps(answer) + b"\n"
            _write(self._answer_lines, line)
        self.answers += 1
        self.answer_bytes += len(line)

    def end(self, at: str, because: str, left_out: int) -> Manifest:
        """Nothing more is added.

        Raises:
            StateError: the disk refuses; what was recorded can be read.
        """
        with as_state_error(self._folder):
            for file in (self._frame_lines, self._answer_lines):
                os.fsync(file)
                os.close(file)
        counts = Counts(
            frames=self.frames, answers=self.answers, left_out=left_out, picture_bytes=self.picture_bytes
        )
        ended = Ended(at=at, because=because, counts=counts)
        manifest = self._manifest.model_copy(update={"ended": ended})
        self._write_manifest(manifest)
        return manifest

    def _write_manifest(self, manifest: Manifest) -> None:
        write_atomically(self._folder / MANIFEST_FILE, manifest.model_dump_json(indent=2).encode())


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
