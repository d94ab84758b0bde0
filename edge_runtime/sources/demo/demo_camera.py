"""The demo's camera: an endless conveyor of real photographs, the same on every machine, that can drift on demand.

Frame ``i`` is a pure function of the seed and ``i``, so that a summary can compute the picture that an undrifted
camera would have seen. Pictures are drawn here, time passes in ``read``.
"""

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import DemoConfig
from edge_runtime.datatypes import PICTURE_SUFFIXES, Frame
from edge_runtime.errors import SourceLost
from edge_runtime.sources.base import EndOfStream, SourceCounts
from edge_runtime.sources.demo import camera_drift
from edge_runtime.sources.folder import natural_order

_WIDTH, _HEIGHT = 320, 240  # what the photographs have; larger only costs time
_ZOOM = (0.7, 1.0)  # share of the photograph's largest 4:3 part that is seen; less cuts the object off


class DemoCamera:
    """A conveyor as a live ``Source``: a late reader gets the newest frame, the others count as dropped.

    Args:
        folder: Photographs, at least one.
        options: The pictures to show and their drift. It begins at frame ``ceil(drift_at_s * fps)``.
        fps: Pictures a second, above 0.
        clock, wall_clock: Monotonic and Unix seconds.
        first_seq: Sequence number of the frame at index 0.

    Raises:
        SourceLost: no readable folder, or no photograph in it.
    """

    is_live = True

    def __init__(
        self,
        stream: str,
        folder: Path,
        options: DemoConfig | None = None,
        *,
        fps: float,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
    ) -> None:
        self.stream, self._first_seq = stream, first_seq
        self._options, self._fps = options or DemoConfig(), fps
        self._photos = _load(stream, folder, self._options.only)
        self._clock, self._wall_clock = clock, wall_clock
        self._began_at_s: float | None = None
        self._next = 0
        self._counts = SourceCounts()
        self._closed = threading.Event()

    def frame(self, index: int, *, drifted: bool = True) -> NDArray[np.uint8]:
        """The picture at ``index``: uint8 (240,320,3) BGR; without its drift when ``drifted`` is False.

        Raises:
            SourceLost: the photograph cannot be decoded.
        """
        rng = np.random.default_rng([self._options.seed, index])
        pixels = _place(self._photo(index, rng), rng)
        severity = self.severity_at(index) if drifted else 0.0
        if self._options.drift is None or severity == 0.0:
            return pixels
        rgb = camera_drift.apply(self._options.drift, pixels[..., ::-1], severity, rng)
        return np.ascontiguousarray(rgb[..., ::-1])

    def severity_at(self, index: int) -> float:
        """How strong the drift is in frame ``index``, 0..1."""
        options = self._options
        begins = math.ceil(options.drift_at_s * self._fps)
        if options.drift is None or index < begins:
            return 0.0
        ramp_frames = options.ramp_s * self._fps
        return options.severity * (min(1.0, (index - begins) / ramp_frames) if ramp_frames else 1.0)

    def read(self, timeout_s: float) -> Frame | None:
        """The newest frame that is due.

        Raises:
            SourceLost: a photograph cannot be decoded.
            EndOfStream: closed.
        """
        now_s = self._clock()
        if self._began_at_s is None:
            self._began_at_s = now_s
        due_s = self._began_at_s + self._next / self._fps
        if due_s > now_s and not self._closed.is_set():
            self._closed.wait(min(due_s - now_s, timeout_s))
            now_s = self._clock()
        if self._closed.is_set():
            raise EndOfStream(f"{self.stream} was closed")
        if due_s > now_s:
            return None
        return self._deliver(self._began_at_s, now_s)

    def stats(self) -> SourceCounts:
        """Counters so far."""
        return self._counts

    def close(self) -> None:
        """Stop the belt."""
        self._closed.set()

    def _deliver(self, began_at_s: float, now_s: float) -> Frame:
        index = max(self._next, math.floor((now_s - began_at_s) * self._fps))
        due_s = began_at_s + index / self._fps
        pixels = self.frame(index)
        skipped, self._next = index - self._next, index + 1
        self._counts = self._counts.plus(
            captured=skipped + 1, delivered=1, dropped=skipped, last_captured_at_s=due_s
        )
        return Frame(
            stream=self.stream,
            seq=self._first_seq + index,
            payload=pixels,
            captured_at_s=due_s,
            captured_at_wall_s=self._wall_clock() - (self._clock() - due_s),
            decode_ms=(self._clock() - now_s) * 1e3,
        )

    def _photo(self, index: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        pick = int(rng.integers(len(self._photos)))
        path, coded = self._photos[pick]
        try:
            photo = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as err:
            raise SourceLost(self.stream, f"photograph {path} (frame {index}): {err}") from err
        if photo is None:
            raise SourceLost(self.stream, f"photograph {path} (frame {index}) cannot be decoded; replace it")
        return np.asarray(photo, np.uint8)


def _load(stream: str, folder: Path, only: str | None) -> list[tuple[Path, bytes]]:
    """The photographs as they are on disk: decoding one takes 2 ms, keeping all decoded some 30 MB."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
        if only is not None:
            paths = [path for path in paths if path.stem == only]
        photos = [(path, path.read_bytes()) for path in sorted(paths, key=lambda p: natural_order(p.name))]
    except OSError as err:
        raise SourceLost(stream, f"photographs in {folder}: {err.strerror}") from err
    if not photos:
        name = "photograph" if only is None else f"photograph named {only!r}"
        raise SourceLost(stream, f"no {name} in {folder}; expected at least one .jpg or .png")
    return photos


def _place(photo: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random 4:3 part of the photograph, perhaps mirrored, at 320x240."""
    height, width = photo.shape[:2]
    scale = min(width / _WIDTH, height / _HEIGHT) * rng.uniform(*_ZOOM)
    part_width, part_height = max(1, round(_WIDTH * scale)), max(1, round(_HEIGHT * scale))
    left = int(rng.integers(width - part_width + 1))
    top = int(rng.integers(height - part_height + 1))
    part = photo[top : top + part_height, left : left + part_width]
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    placed = np.asarray(cv2.resize(part, (_WIDTH, _HEIGHT), interpolation=how), np.uint8)
    return np.ascontiguousarray(placed[:, ::-1]) if rng.random() < 0.5 else placed
