"""The files of a recording, version 1: only data and its validation.

```
DIR/recording.json                         who, what, when; written anew at the end
    config.yaml                            the configuration in force, without secrets
    frames.jsonl                           a line for each frame, once its picture is whole
    answers.jsonl                          a line for each answer
    frames/<stream>/<number>.png           as captured: without loss, or the file that the source gave; of windows .npy
    patches/<model>/<patch>.safetensors    of the generations that answered
    baselines/<model>.safetensors          the baseline in use, without its pictures
```
Lines are only ever added. What a kill cuts off is the end of the last line.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edge_runtime.datatypes import ColourOrder
from edge_runtime.inference.specs.signals import MAX_CHANNELS, MAX_RATE_HZ

MANIFEST_FILE, CONFIG_FILE = "recording.json", "config.yaml"
FRAMES_FILE, ANSWERS_FILE = "frames.jsonl", "answers.jsonl"
PICTURES, PATCHES, BASELINES = "frames", "patches", "baselines"

_SAFE_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def _check_picture_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if len(parts) != 3 or parts[0] != PICTURES or not all(_SAFE_PART.fullmatch(part) for part in parts):
        raise ValueError(f"expected {PICTURES}/STREAM/FILE")
    return path


def _check_name(name: str) -> str:
    if not _SAFE_PART.fullmatch(name):
        raise ValueError("expected letters, digits, '.', '_' and '-'")
    return name


def _check_absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError("expected the path of a folder from / on")
    return path


SafeName = Annotated[str, AfterValidator(_check_name)]
"""Becomes a part of a path."""
PicturePath = Annotated[str, AfterValidator(_check_picture_path)]
Words = Annotated[str, Field(max_length=10_000)]
Number = Annotated[int, Field(ge=0, le=2**53)]


class _Part(BaseModel):
    """Keys that a later version adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class ModelNote(_Part):
    """A model as it was when the recording began."""

    bundle: Words
    """Name and version."""
    folder: Annotated[Words, AfterValidator(_check_absolute)]
    """Of the bundle, on the box."""
    model_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    generation: Words
    """Bundle and patch that answered when it began."""
    runs_on: Words
    """The engine and its threads."""
    baseline: SafeName | None = None
    """The one in use; null: none."""


class Counts(_Part):
    """Of a whole recording."""

    frames: int = Field(ge=0)
    answers: int = Field(ge=0)
    """Rejections among them."""
    left_out: int = Field(ge=0)
    """Frames that did not fit: they came faster than they were written."""
    picture_bytes: int = Field(ge=0)
    """Of all files in ``frames``."""


class Ended(_Part):
    """How it ended."""

    at: Words
    """RFC 3339."""
    because: Words
    """Which limit was reached, or what cut it off."""
    counts: Counts


class Manifest(_Part):
    """``recording.json``."""

    format: Literal["edge-runtime-recording"]
    version: Literal[1]
    software: Words
    """Version of edge-runtime."""
    device: Words
    began_at: Words
    """RFC 3339."""
    cameras: dict[SafeName, SafeName] = Field(max_length=128)
    """Cameras and sensors, each with its model."""
    models: dict[SafeName, ModelNote] = Field(max_length=16)
    ended: Ended | None = None
    """null: it goes on, or was cut off."""


class FrameLine(_Part):
    """One frame, as a line of ``frames.jsonl``."""

    stream: SafeName
    seq: Number
    """Number of the frame of its stream."""
    captured_at: Words
    """RFC 3339."""
    file: PicturePath
    """Below the folder of the recording."""
    size_bytes: int = Field(ge=0, le=512 * 2**20)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    colour: ColourOrder | None = None
    """Order of the channels that the model was given, where ``shape`` is set; a PNG stores them as people see them."""
    shape: tuple[int, ...] | None = Field(default=None, max_length=4)
    """Of a picture that the source gave as an array, or of a window, (samples, channels); null: the file is the one
    that the source gave."""
    is_tensor: bool = False
    name: Words | None = None
    """What the sender calls it."""
    rate_hz: float | None = Field(default=None, gt=0, le=MAX_RATE_HZ)
    """Of a window: samples a second. Its file holds float64 numbers as the sensor sent them, NaN for missing ones."""
    channels: tuple[Words, ...] | None = Field(default=None, max_length=MAX_CHANNELS)
    """Of a window: names of its columns."""
    ended_at_s: float | None = Field(default=None, allow_inf_nan=False)
    """Of a window: time of its last sample, Unix seconds; ``captured_at`` is the same, rounded."""

    @property
    def key(self) -> tuple[str, int]:
        """By which its answer is found."""
        return self.stream, self.seq


class AnswerLine(_Part):
    """One answer, as a line of ``answers.jsonl``: what was published, and the raw outputs where they are small."""

    stream: SafeName
    seq: Number
    model: SafeName
    generation: Words | None = None
    arm: Literal["candidate"] | None = None
    rejected: Words | None = None
    """Why there is no answer."""
    top: list[dict[str, Any]] | None = None
    detections: list[dict[str, Any]] | None = None
    values: list[dict[str, Any]] | None = None
    anomaly: dict[str, Any] | None = None
    outputs: dict[str, dict[str, Any]] | None = None
    raw: dict[str, dict[str, Any]] | None = None
    """Shape, dtype and data of each output of the model."""
    timings_ms: dict[str, float] = Field(default_factory=dict)
