"""Street video in three parts that share no second: baseline, reference, test; prepared for the pedestrian detector.

The pictures come from the Debian package ``opencv-doc`` (``vtest.avi``: a fixed camera, people, 768x576, 10 frames
a second): fetched, never shipped. No model here.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.records import NotInstalled

VIDEO = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
PACKAGE = "opencv-doc"
SIDE = 300
STEP = 4
"""Every fourth frame: 0.4 s apart, so that 64 of them cover 26 s."""
LEAST_FRAMES = 64
GAP = 10
"""Frames between two parts that belong to none: a second, in which a walker moves on by a body's width."""
ORDERS = ((0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1), (2, 0, 1))
"""Which third is baseline, reference and test, by seed."""

Pixels = NDArray[np.uint8]


class VideoMissing(NotInstalled):
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


def load_street(seed: int, video: Path) -> Street:
    """The parts for one seed: other thirds, other frames.

    Raises:
        VideoMissing: no video there, or it has fewer than 64 frames for a part.
    """
    pixels, index = frames_of(video, seed % STEP, STEP)
    length = (index[-1] + 1 - 2 * GAP) // 3
    starts = [third * (length + GAP) for third in range(3)]
    parts = [pixels[(index >= start) & (index < start + length)] for start in starts]
    if min(len(part) for part in parts) < LEAST_FRAMES:
        raise VideoMissing(video, f"only {len(pixels)} frames, {STEP} apart")
    first, second, third = (parts[i] for i in ORDERS[seed % len(ORDERS)])
    return Street(first, second, third)


def frames_of(video: Path, first: int, step: int) -> tuple[Pixels, NDArray[np.int64]]:
    """Every ``step``-th frame from ``first`` on, uint8 (N,H,W,3) RGB, and its number; the others are not kept.

    Raises:
        VideoMissing: no such file, or it holds no frames.
    """
    if not video.is_file():
        raise VideoMissing(video, "no such file")
    capture = cv2.VideoCapture(str(video))
    frames: list[Pixels] = []
    numbers: list[int] = []
    number = 0
    while capture.grab():
        if number % step == first % step and number >= first:
            _, frame = capture.retrieve()
            frames.append(np.ascontiguousarray(np.asarray(frame, np.uint8)[:, :, ::-1]))
            numbers.append(number)
        number += 1
    capture.release()
    if not frames:
        raise VideoMissing(video, "no frames")
    return np.stack(frames), np.asarray(numbers, np.int64)


def find_video(work: Path) -> Path:
    """The video where the package puts it; else unpacked into ``work``, fetched by apt on the first call.

    Many images leave out what packages put below /usr/share/doc, so installing it is not always enough.

    Raises:
        VideoMissing: apt cannot fetch it.
    """
    path = work / VIDEO.relative_to("/")
    if VIDEO.is_file() or path.is_file():
        return VIDEO if VIDEO.is_file() else path
    work.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", PACKAGE], cwd=work, check=True, capture_output=True)
        [archive] = work.glob(f"{PACKAGE}_*.deb")
        subprocess.run(["dpkg", "-x", archive.name, "."], cwd=work, check=True)
    except (OSError, ValueError, subprocess.CalledProcessError) as err:
        raise VideoMissing(path, f"cannot be fetched ({err})") from err
    archive.unlink()
    return path


def prepare(pixels: Pixels) -> NDArray[np.float32]:
    """float32 (N,3,300,300), 0..255: stretched, as the detector was trained."""
    small = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pixels]
    return np.stack(small).astype(np.float32).transpose(0, 3, 1, 2).copy()


def samples_for_quantization(video: Path) -> NDArray[np.float32]:
    """Healthy prepared frames, spread over the video, to calibrate the activations with, as a factory would."""
    return prepare(frames_of(video, 5, 16)[0])
