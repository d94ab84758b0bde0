"""Makes video files whose frames carry their number in black and white blocks, and reads the number back."""

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

_BITS = 12
_ORANGE = (20, 120, 230)


def numbered_picture(number: int, width: int = 320, height: int = 192) -> np.ndarray:
    """Grey background, below it one block a bit: survives any codec."""
    picture = np.full((height, width, 3), 90, np.uint8)
    block = width // _BITS
    for bit in range(_BITS):
        picture[height // 2 :, bit * block : (bit + 1) * block] = 255 if number >> bit & 1 else 0
    return picture


def number_of(picture: np.ndarray) -> int:
    """The number of a decoded picture of any size made by ``numbered_picture``."""
    height, width = picture.shape[:2]
    block = width // _BITS
    row = picture[height * 3 // 4, block // 2 : block * _BITS : block].reshape(_BITS, -1).mean(axis=1)
    return sum(1 << bit for bit in range(_BITS) if row[bit] > 128)


def write_clip(path: Path, frames: int, fps: float = 25, codec: str = "mp4v", width: int = 320) -> Path:
    """A numbered clip."""
    height = width * 3 // 5 // 16 * 16
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    for number in range(frames):
        writer.write(numbered_picture(number, width, height))
    writer.release()
    return path


def encode_clip(
    path: Path,
    numbers: Iterable[int],
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    *,
    size: tuple[int, int] = (320, 192),
    has_sound: bool = False,
    is_bt709: bool = False,
) -> Path:
    """A clip of numbered pictures with a stripe in colour; each is shown at its number's 25th of a second."""
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=48000) if has_sound else None
        stream = file.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        if is_bt709:
            stream.codec_context.colorspace = 1
        stream.codec_context.time_base = Fraction(1, 25)
        for number in numbers:
            pixels = numbered_picture(number, *size)
            pixels[: size[1] // 4] = _ORANGE
            picture = av.VideoFrame.from_ndarray(pixels, "bgr24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(picture))
            if sound is not None:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1920), np.float32), "fltp", "mono")
                silence.sample_rate, silence.pts = 48000, number * 1920
                file.mux(sound.encode(silence))
        for one in (stream, sound):
            file.mux([] if one is None else one.encode())
    return path


def write_turned_clip(path: Path, degrees: int, frames: int = 5) -> Path:
    """A clip whose header says that it is to be turned, as phones write it."""
    whole = write_clip(path.with_name("straight.mp4"), frames).read_bytes()
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    straight, turned = (
        struct.pack(">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30)
        for a, b in ((1, 0), (cosine, sine))
    )
    track = whole.index(b"tkhd")
    at = whole.index(straight, track)
    path.write_bytes(whole[:at] + turned + whole[at + len(turned) :])
    return path
