"""Reads video of the network and of files with FFmpeg, by PyAV: the only file that imports it.

Decoding and conversion are apart: a picture that is not wanted is decoded, where others are built on it, but never
converted or copied. Imports no numpy: each camera has a process with this in it.
"""

import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

import av
import av.logging
from av.format import Flags
from av.stream import Discard, Disposition
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream as AvStream

from edge_runtime.sources.capture_protocol import CaptureFailed
from edge_runtime.sources.decode_choice import Decoding
from edge_runtime.sources.frame_writer import require_room

_FALLBACK_FPS = 25.0  # for files that do not say
_TEXT_FORMATS = {"tty", "bin", "xbin", "adf", "idf"}  # FFmpeg draws any text, in the letters of a terminal
_MATRICES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020}
"""By the numbers of H.273. All others are read as BT.601: most streams say nothing, and some say nonsense."""
_LOGIN_ERRORS = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)
_SKIPPED = {"all": "DEFAULT", "nonref": "NONREF", "keyframes": "DEFAULT"}

if TYPE_CHECKING:
    from av.packet import Packet

# To standard error, where the owner looks for FFmpeg's reason.
av.logging.restore_default_callback()
av.logging.set_libav_level(av.logging.ERROR)


class VideoStream:
    """An open video.

    Args:
        name: URL or absolute path.
        options: Of FFmpeg.
        limits_s: Longest wait for it to open, and for data, seconds.
        size: Pictures are scaled down to fit into this width and height; None: as they are.
        form: FFmpeg's name of the container format; None: found by FFmpeg.

    Raises:
        CaptureFailed: it cannot be opened, or nothing in it is a video that can be decoded.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, str],
        limits_s: tuple[float, float],
        size: tuple[int, int] | None = None,
        form: str | None = None,
    ) -> None:
        began_s = time.monotonic()
        try:
            self._file = av.open(
                name, format=form, options=dict(options), timeout=limits_s, metadata_errors="replace"
            )
        except (av.error.FFmpegError, ValueError) as err:
            if time.monotonic() - began_s >= limits_s[0]:
                raise CaptureFailed(
                    f"it is there but gives no whole answer within {limits_s[0]:g} s"
                ) from err
            reason = getattr(err, "strerror", None) or err
            hint = "; check user and password in its address" if isinstance(err, _LOGIN_ERRORS) else ""
            raise CaptureFailed(f"it is there but cannot be opened as a video: {reason}{hint}") from err
        self._stream: AvStream = self._find()
        self._prepare()
        self._size, self._reformatter = size, VideoReformatter()
        self._needs_key = False
        self._packets, self._played_s = 0, 0.0

    def _find(self) -> AvStream:
        """The first video in it; the cover of a record is none, and a text neither."""
        for stream in self._file.streams.video:
            if (
                not stream.disposition & Disposition.attached_pic
                and self._file.format.name not in _TEXT_FORMATS
            ):
                return stream
        self._file.close()
        raise CaptureFailed("it is there but cannot be opened as a video: there is none in it")

    def _prepare(self) -> None:
        if self._stream.codec_context is None:
            self.close()
            raise CaptureFailed("its codec has no decoder here: let the camera send H.264")
        self._decoder = self._stream.codec_context
        self._decoder.thread_count = 1  # each of FFmpeg's frame threads adds a frame of delay
        for stream in self._file.streams:
            if stream is not self._stream:
                stream.discard = Discard.all

    @property
    def shape(self) -> tuple[int, int]:
        """Width and height of its pictures before they are scaled, in pixels; 0 while unknown."""
        return self._decoder.width, self._decoder.height

    @property
    def codec(self) -> str:
        """FFmpeg's name of its codec."""
        return str(self._decoder.name)

    @property
    def fps(self) -> float:
        """Pictures a second as its header says."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        fps = float(rate) if rate else 0.0
        return fps if math.isfinite(fps) and 0 < fps <= 1000 else _FALLBACK_FPS

    def announced(self, frames: int) -> int:
        """Number of pictures that its header promises, where ``frames`` came; 0 where it does not say.

        Packets are compared, because some pictures are hidden (edit lists); without a number of them time is, because
        their rate may change. MPEG transport streams have no header: their length is a guess.
        """
        if self._stream.frames > 0:
            return frames if self._packets >= self._stream.frames else int(self._stream.frames)
        duration_s = _seconds(self._stream.duration, self._stream) or (self._file.duration or 0) / 1e6
        may_jump = int(self._file.format.flags) & cast("int", Flags.ts_discont.value)
        if may_jump or duration_s <= 0 or self._played_s <= 0:
            return 0
        return round(frames * max(1.0, duration_s / self._played_s))

    def packets(self) -> "Iterator[Packet[AvStream]]":
        """Its packets until it ends; the last one is empty and brings out what the decoder held back.

        Raises:
            CaptureFailed: the connection broke.
        """
        try:
            yield from self._file.demux(self._stream)
        except av.error.EOFError:
            return
        except av.error.FFmpegError as err:
            raise CaptureFailed(f"the stream broke: {err.strerror}") from err

    def pictures(self) -> Iterator[VideoFrame]:
        """All pictures until its end or to where it is damaged beyond reading."""
        try:
            for packet in self._file.demux(self._stream):
                self._packets += packet.size > 0
                for picture in self.decode(packet):
                    self._note_time(picture)
                    yield picture
        except av.error.FFmpegError:
            return

    def _note_time(self, picture: VideoFrame) -> None:
        begin_s = _seconds(self._stream.start_time, self._stream) or 0.0
        if picture.time is not None:
            self._played_s = max(self._played_s, picture.time - begin_s + 1 / self.fps)

    def skip(self, decoding: Decoding) -> None:
        """What ``decode`` leaves out from now on."""
        self._decoder.skip_frame = _SKIPPED[decoding]  # type: ignore[assignment]

    def decode(self, packet: "Packet[AvStream]") -> list[VideoFrame]:
        """The pictures that are complete now; none of a damaged packet."""
        if self._needs_key and not packet.is_keyframe:
            return []
        self._needs_key = False
        try:
            return list(packet.decode())
        except av.error.FFmpegError:
            return []

    def decode_alone(self, packet: "Packet[AvStream]") -> VideoFrame | None:
        """The picture of a key frame at once, also where others may come before it; None where it needs others."""
        found = self.decode(packet)
        try:
            found += self._decoder.decode(None)
        except av.error.FFmpegError:
            found = []
        self._decoder.flush_buffers()
        self._needs_key = True
        return found[-1] if found and found[-1].pict_type == PictureType.I else None

    def write(self, picture: VideoFrame, memory: memoryview) -> tuple[int, int, int] | None:
        """Write a picture as BGR, turned as its file says; its shape (H,W,3), or None where FFmpeg cannot convert it.

        Raises:
            CaptureFailed: the memory is too small.
        """
        turns = round(picture.rotation / 90) % 4
        size = self._size[::-1] if self._size is not None and turns % 2 else self._size
        width, height = fit(picture.width, picture.height, size)
        require_room(width, height, len(memory))
        try:
            converted = self._convert(picture, width, height)
        except (av.error.FFmpegError, ValueError):
            return None
        plane, row_bytes = converted.planes[0], width * 3
        if turns:
            return _write_turned(memoryview(plane), plane.line_size, (height, width), turns, memory)
        if plane.line_size == row_bytes:
            memory[: height * row_bytes] = memoryview(plane)[: height * row_bytes]
        else:
            pixels = memoryview(plane)
            for row in range(height):
                memory[row * row_bytes : (row + 1) * row_bytes] = pixels[row * plane.line_size :][:row_bytes]
        return height, width, 3

    def _convert(self, picture: VideoFrame, width: int, height: int) -> VideoFrame:
        is_scaled = (width, height) != (picture.width, picture.height)
        return self._reformatter.reformat(
            picture,
            width=width,
            height=height,
            format="bgr24",
            src_colorspace=_MATRICES.get(picture.colorspace, Colorspace.ITU601),
            interpolation=Interpolation.AREA if is_scaled else Interpolation.BICUBIC,
            threads=1,
        )

    def close(self) -> None:
        """End the connection or close the file."""
        self._file.close()


def _seconds(ticks: int | None, stream: AvStream) -> float | None:
    return None if ticks is None or stream.time_base is None else float(ticks * stream.time_base)


def fit(width: int, height: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """The largest width and height, not above those given, of the same shape within ``size``."""
    if size is None:
        return width, height
    scale = min(1.0, size[0] / width, size[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _write_turned(
    pixels: memoryview, line_bytes: int, shape: tuple[int, int], turns: int, memory: memoryview
) -> tuple[int, int, int]:
    import numpy as np  # few videos are turned, and each camera would pay for it

    height, width = shape
    lines = np.frombuffer(pixels, np.uint8)[: height * line_bytes].reshape(height, line_bytes)
    turned = np.rot90(lines[:, : width * 3].reshape(height, width, 3), turns)
    np.copyto(np.frombuffer(memory, np.uint8)[: turned.size].reshape(turned.shape), turned)
    high, wide, channels = turned.shape
    return high, wide, channels
