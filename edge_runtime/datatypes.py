"""The values that travel from the camera to the broker: frame -> sample -> result, and their parts.

Frozen values that check nothing; no thread, no I/O. Every stage imports this module; it imports none of them.
Times ending in ``_s`` are monotonic seconds (``time.monotonic``); ``_wall_s`` is Unix time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol, Union

import numpy as np
from numpy.typing import NDArray

ColourOrder = Literal["rgb", "bgr", "grey", "rgba", "bgra"]

Payload = NDArray[Any] | bytes | Path
"""What a source gives. Of a camera: a decoded array (H,W), (H,W,1|3|4) uint8/uint16, an encoded file or ``.npy`` array
as bytes, or the path of one. Of a sensor: the numbers of a window, float64 (samples, channels) with NaN where one is
missing, or a whole message or file as bytes or path."""
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm"}
)
"""A file in a folder of pictures that ends so, in small or capital letters, is taken for one: the formats that
``inference.preprocess`` reads, and no others."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The names by which the sender of a frame knows it; they travel unchanged into its result or rejection.

    A source sets only what it knows and keeps to the bounds of ``sources.mqtt_origin``; cameras know nothing.
    """

    name: str | None = None
    """Of a file, relative to the folder of its camera."""
    modified_at_wall_s: float | None = None
    """When the file was last changed, by the clock of who wrote it."""
    captured_at_wall_s: float | None = None
    """The sender's own time of the picture."""
    correlation: bytes | None = None
    content_type: str | None = None
    properties: tuple[tuple[str, str], ...] = ()
    """The sender's own names and values, in its order; a name may come twice."""
    response_topic: str | None = None
    """Where the sender wants the answer as well; it was checked that this device may publish there."""
    left_out: tuple[str, ...] = ()
    """Names of fields that were too large or could not be read."""


REQUESTS = ":http"
"""The stream of the frames that callers ask about; no camera can be called so."""


class Asker(Protocol):
    """Waits for the answer to one frame, and gets it alone: it is not published, and nothing learns from the frame."""

    @property
    def gives_up_at_s(self) -> float:
        """Nobody waits for the answer after this moment (monotonic seconds)."""

    def take(self, answer: Union["Result", "Rejected"], outputs: Mapping[str, NDArray[Any]]) -> None:
        """The answer, once, from any thread; must return at once and never raise.

        ``outputs`` are the raw arrays of a result, without the batch axis; they are overwritten afterwards.
        """


class Asked(Enum):
    """What became of a frame with an asker."""

    TAKEN = 1
    """The asker gets the answer, which may be that the picture cannot be used."""
    FULL = 2
    """As many wait as may."""
    ENDED = 3
    """Another pipeline answers for the model now, or none."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One raw picture or window of a stream.

    ``tensor`` inputs (already prepared, float, model layout) travel in ``payload`` with ``is_tensor`` set, or as the
    bytes of a ``.npy`` file, whose type says whether it is one.
    """

    stream: str
    seq: int
    payload: Payload
    captured_at_s: float
    captured_at_wall_s: float
    colour: ColourOrder | None = "bgr"
    """Channel order of an *array* picture (OpenCV gives BGR). None, as sources of files and messages say: nothing
    declares it, and an array of 3 or 4 channels (``.npy``) is refused. Ignored for other encoded pictures."""
    is_tensor: bool = False
    decode_ms: float = 0.0
    """Time already spent on decoding (in the capture process)."""
    origin: Origin | None = None
    settle: Callable[[bool], None] | None = None
    """Called, from any thread, with True once the frame was answered or rejected, with False when it was lost to an
    error of the engine; not when it was dropped unanswered, as when its stream is closed."""
    asker: Asker | None = None
    """Who gets the answer in place of everybody else; see ``Pipeline.ask``."""
    full_size: tuple[int, int] | None = None
    """Width and height of the picture that this one, for a person, is a smaller copy of; None: it is whole."""
    rate_hz: float | None = None
    """Samples a second of a window, as its stream says; None: as the bundle says."""
    channels: tuple[str, ...] | None = None
    """Names of a window's columns, where its source knows them: another bundle may have come into force meanwhile."""
    slots: range | None = None
    """Of a window: the numbers of its samples, counted over its stream, so that two windows share what their ranges
    share; None: its source does not know."""
    flaw: "Flaw | None" = None
    """Why the source could make nothing of what it got; the frame is rejected for it."""


class RejectReason(StrEnum):
    """Why a picture, window or tensor was not used; each has its own counter."""

    EMPTY = "empty"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    BAD_SHAPE = "bad_shape"
    BAD_DTYPE = "bad_dtype"
    NON_FINITE = "non_finite"
    UNSUPPORTED = "unsupported"
    BAD_ENCODING = "bad_encoding"
    """Text in another encoding than declared."""
    MISSING_CHANNEL = "missing_channel"
    """A declared channel is not in the payload."""
    MISSING_VALUES = "missing_values"
    """More values of a window are missing than may be filled."""
    BAD_TIME = "bad_time"
    """A time that is none, or that no clock shows."""
    BAD_OUTPUT = "bad_output"
    ENGINE_ERROR = "engine_error"
    """The picture was good; the inference of its batch failed. Counted as ``lost_to_errors``."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why something cannot be used; ``detail`` never quotes what came."""

    reason: RejectReason
    detail: str
    error: Exception | None = None
    """That no check foresaw: a mistake of the program, which is counted as one; None: of what came."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A frame that cannot be used: a value, never an exception. It never enters a calibration set."""

    stream: str
    seq: int
    reason: RejectReason
    detail: str
    captured_at_wall_s: float | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Geometry:
    """How model input pixels map back to the frame: ``frame = (model - offset) / scale`` per axis."""

    frame_width: int
    frame_height: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A prepared picture or window, ready for the model."""

    stream: str
    seq: int
    tensor: NDArray[np.float32]
    """Without the batch axis, in the layout of the bundle: (C,H,W) or (H,W,C); (C,T), (T,C) or (C,)."""
    values: NDArray[np.uint8] | NDArray[np.float32] | None
    """Before normalisation: the picture after orientation and resize, uint8 (H,W,C), colour order of the bundle; or the
    window in its units, float32 (C,T), resampled and filled.

    None for tensor inputs. This is what the reservoir keeps."""
    geometry: Geometry | None
    captured_at_s: float
    captured_at_wall_s: float
    prepared_at_s: float
    decode_ms: float
    prepare_ms: float
    origin: Origin | None = None
    settle: Callable[[bool], None] | None = None
    asker: Asker | None = None
    """Both are those of the frame."""
    filled: float | None = None
    """Share of a window's values that were missing and were filled, 0..1; None: it is no window."""
    slots: range | None = None
    """Those of the frame."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a classification."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Detection:
    """One detected object; ``box`` is (x1, y1, x2, y2) in pixels of the original frame."""

    index: int
    label: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Value:
    """One number of a regression."""

    name: str
    value: float
    """In ``unit``."""
    unit: str = ""
    limits: Literal["inside", "below", "above"] | None = None
    """Where it is; None: it has no limits."""
    spread: float | None = None
    """Standard deviation of healthy values, by which two answers are compared; None: not known. Not published."""
    raw: float | None = None
    """The model's own number, by which a drift of the answers is seen; None: not known. Not published."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """How unlike the healthy inputs one is."""

    score: float
    threshold: float | None
    """Scores above it are anomalous; None: there is none yet, since the site was not commissioned."""

    @property
    def is_anomalous(self) -> bool | None:
        """None without a threshold."""
        return None if self.threshold is None else self.score > self.threshold


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds spent on one frame; ``total`` runs from capture to the outbox."""

    decode: float
    prepare: float
    queue: float
    infer: float
    total: float


@dataclass(frozen=True, slots=True)
class Result:
    """What is published for one frame. Exactly one of the fields from ``top`` to ``outputs`` is set."""

    device: str
    stream: str
    seq: int
    captured_at_wall_s: float
    model: str
    generation: str
    timings: Timings
    top: tuple[Label, ...] | None = None
    detections: tuple[Detection, ...] | None = None
    values: tuple[Value, ...] | None = None
    anomaly: Anomaly | None = None
    outputs: dict[str, NDArray[Any]] | None = None
    origin: Origin | None = None
    filled: float | None = None
    """Of a window, as in the sample."""
    arm: Literal["candidate"] | None = None
    """Set where a candidate that is tried answered; ``generation`` names it."""

    @property
    def id(self) -> str:
        """Unique and ordered per stream; a duplicate delivery carries the same id."""
        return result_id(self.device, self.stream, self.seq)


def result_id(device: str, stream: str, seq: int) -> str:
    """The name of the one answer to a frame, a result or a rejection."""
    return f"{device}/{stream}/{seq:09d}"


@dataclass(frozen=True, slots=True)
class Generation:
    """Name of what answers: ``bundle`` is ``name/version``; ``patch`` is a patch id or None for the base."""

    bundle: str
    patch: str | None = None

    def __str__(self) -> str:
        return self.bundle if self.patch is None else f"{self.bundle}+{self.patch}"

    @property
    def base(self) -> "Generation":
        """The same bundle without a patch."""
        return Generation(self.bundle)
