"""Street video in three parts that share no second: baseline, reference, test; prepared for the pedestrian detector.

The pictures come from the Debian package ``opencv-doc`` (``vtest.avi``: a fixed camera, people, 768x576, 10 frames a
second): installed, never shipped. No model here. Called by ``benchmarks/track_c.py``.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

VIDEO = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
SIDE = 300
STEP = 4
"""Every fourth frame: 0.4 s apart, so that 64 of them cover 26 s."""
GAP = 10
"""Frames between two parts that belong to none: a second, in which a walker moves on by a body's width."""
ORDERS = ((0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1), (2, 0, 1))
"""Which third is baseline, reference and test, by seed."""

Pixels = NDArray[np.uint8]


class VideoMissing(Exception):
    """The video is not there or too short; the message says how to get it."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(
            f"{path}: {found}. Install it with: apt-get install opencv-doc, or unpack that package "
            "(dpkg -x) and name the file"
        )


@dataclass(frozen=True, slots=True)
class Street:
    """uint8 (N,H,W,3) RGB frames of each part, in the order of time."""

    baseline: Pixels
    reference: Pixels
    test: Pixels


def load_street(seed: int, video: Path = VIDEO) -> Street:
    """The parts for one seed: other thirds, other frames.

    Raises:
        VideoMissing: the video is not installed, or has fewer than 64 frames for a part.
    """
    pixels = every_frame(video)
    length = (len(pixels) - 2 * GAP) // 3
    if length < 64 * STEP - STEP + 1:
        raise VideoMissing(video, f"{len(pixels)} frames")
    starts = [third * (length + GAP) for third in range(3)]
    parts = [pixels[start + seed % STEP : start + length : STEP] for start in starts]
    first, second, third = (parts[i] for i in ORDERS[seed % len(ORDERS)])
    return Street(first, second, third)


def every_frame(video: Path = VIDEO) -> Pixels:
    """All frames, uint8 (N,H,W,3) RGB.

    Raises:
        VideoMissing: no such file, or it holds no frames.
    """
    if not video.is_file():
        raise VideoMissing(video, "no such file")
    capture = cv2.VideoCapture(str(video))
    frames: list[Pixels] = []
    while True:
        is_there, frame = capture.read()
        if not is_there:
            break
        frames.append(np.ascontiguousarray(np.asarray(frame, np.uint8)[:, :, ::-1]))
    capture.release()
    if not frames:
        raise VideoMissing(video, "no frames")
    return np.stack(frames)


def prepare(pixels: Pixels) -> NDArray[np.float32]:
    """float32 (N,3,300,300), 0..255: stretched, as the detector was trained."""
    small = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pixels]
    return np.stack(small).astype(np.float32).transpose(0, 3, 1, 2).copy()
