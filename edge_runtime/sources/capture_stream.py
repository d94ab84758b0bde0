"""Plays a camera of the network into the ring: RTSP, HTTP video, or still pictures over HTTP.

Reads as fast as packets come, so that none grows old in a buffer, and overwrites the oldest unread frame.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from edge_runtime.sources.capture_protocol import CaptureFailed, CaptureRequest, OwnerConnection
from edge_runtime.sources.decode_choice import DecodeChoice, Decoding
from edge_runtime.sources.frame_ring import FrameRing
from edge_runtime.sources.frame_writer import FrameWriter, Write, require_room
from edge_runtime.sources.pacing import Metronome
from edge_runtime.sources.sign_of_life import SignOfLife
from edge_runtime.sources.video_stream import VideoStream, fit
from edge_runtime.system.camera_address import CameraAddress, CameraKind

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream as AvStream

WAIT_SLICE_S = 0.25
"""The owner sees a beat at least this often while a capture process waits on purpose."""
_STILLS_PER_S = 1.0  # when fps says nothing: most cameras take a new still about so often
_READ_SPARE_S = 5.0  # so that SignOfLife, which knows more, gives the reason


class StreamPlayer:
    """Plays one camera of the network until it ends or the owner quits."""

    def __init__(self, request: CaptureRequest, ring: FrameRing, owner: OwnerConnection) -> None:
        self._request, self._options, self._ring, self._owner = request, request.options, ring, owner
        self._writer = FrameWriter(ring, owner)
        self._choice = DecodeChoice(self._options.decode, self._options.fps)
        self._limit, self._position = Metronome(self._options.fps), 0
        self._said: Decoding | None = None
        self._since_key: list[Packet[AvStream]] = []

    def play(self) -> None:
        """Open the camera and hand its frames over.

        Raises:
            CaptureFailed: with the reason, fit for a log after redaction.
        """
        content_type, address = "", CameraAddress(self._request.address)
        if address.kind is CameraKind.HTTP:
            from edge_runtime.sources.http_camera import HttpCamera

            options = self._options
            camera = HttpCamera(
                address.text, options.open_timeout_s, options.read_timeout_s, self._ring.slot_bytes
            )
            self._owner.send("opening")
            answer = camera.look()
            if answer is not None and answer.still is not None:
                self._play_stills(answer.still, camera.fetch)
                return
            content_type = answer.content_type if answer is not None else ""
        self._play_video(open_stream(self._request, self._ring, self._owner, content_type))

    def _play_video(self, video: VideoStream) -> None:
        life = SignOfLife(
            self._options.read_timeout_s, self._options.first_picture_s, self._ring.beat, self._give_up
        )
        life.start()
        try:
            video.skip(self._choice.now)
            for packet in video.packets():
                if self._owner.quit.is_set():
                    return
                self._take(video, packet, life)
                self._tell_choice()
            raise CaptureFailed("the stream ended")
        finally:
            life.stop()
            video.close()

    def _take(self, video: VideoStream, packet: "Packet[AvStream]", life: SignOfLife) -> None:
        now_s = time.monotonic()
        self._choice.note_packet(now_s, is_key=packet.is_keyframe)
        life.note_data(now_s)
        if self._choice.now != "keyframes":
            if self._since_key:
                self._catch_up(video)
            self._take_pictures(video, packet, life)
            return
        life.needs_key = True
        self._ring.note_interval(self._choice.key_distance_s(now_s))
        if packet.is_keyframe:
            self._since_key.clear()
        if self._options.decode == "auto":
            self._since_key.append(packet)
        self._take_key_frame(video, packet, life)

    def _catch_up(self, video: VideoStream) -> None:
        """Decode what was left out since the last key frame: the next one may be far away."""
        self._ring.note_interval(0.0)
        for packet in self._since_key:
            video.decode(packet)
        self._since_key.clear()

    def _take_pictures(self, video: VideoStream, packet: "Packet[AvStream]", life: SignOfLife) -> None:
        now_s, wall_s = time.monotonic(), time.time()  # before decoding, as of a key frame
        for picture in video.decode(packet):
            life.note_picture(now_s)
            life.needs_key = False
            self._ring.count_grab(now_s)
            if self._limit.keep(now_s):
                self._hand_over(partial(video.write, picture), now_s, wall_s, now_s)
            else:
                self._ring.count_skip()
            self._position += 1

    def _take_key_frame(self, video: VideoStream, packet: "Packet[AvStream]", life: SignOfLife) -> None:
        """Decode a key frame that is wanted; the other packets show that the camera is alive."""
        if packet.size == 0:  # the end
            return
        now_s, wall_s = time.monotonic(), time.time()
        self._ring.count_grab(now_s)
        if not (packet.is_keyframe and self._limit.keep(now_s)):
            self._ring.count_skip()
            return
        picture = video.decode_alone(packet)
        if picture is None:
            self._choice.reject_key_frames()
            self._ring.count_skip()
            return
        life.note_picture(now_s)
        self._hand_over(partial(video.write, picture), now_s, wall_s, now_s)
        self._position += 1

    def _hand_over(self, write: Write, at_s: float, wall_s: float, begun_s: float | None) -> None:
        self._writer.hand_over(write, self._position, at_s, wall_s, begun_s=begun_s, may_overwrite=True)

    def _tell_choice(self) -> None:
        if self._choice.now != self._said:
            self._said = self._choice.now
            self._owner.send("decoding", decoding=self._said)

    def _play_stills(self, still: bytes, fetch: Callable[[], bytes]) -> None:
        """Ask for a still picture again and again; the owner decodes and judges it like that of any other source."""
        due = Metronome(self._options.fps or _STILLS_PER_S)
        self._owner.send("opened", size_bytes=len(still), backend="still pictures")
        while not self._owner.quit.is_set():
            now_s, wall_s = time.monotonic(), time.time()
            due.tick(now_s)
            self._ring.count_grab(now_s)
            self._hand_over(partial(_write_still, still), now_s, wall_s, None)
            self._position += 1
            while (wait_s := due.wait_s(time.monotonic())) > 0 and not self._owner.quit.is_set():
                self._ring.beat(time.monotonic())
                self._owner.quit.wait(min(wait_s, WAIT_SLICE_S))
            if not self._owner.quit.is_set():
                still = fetch()

    def _give_up(self, problem: str) -> None:
        """End this process from another thread: the main one waits in FFmpeg.

        Its ``finally`` blocks do not run: the kernel closes the connection.
        """
        self._owner.send("failed", reason=problem)
        os._exit(0)


def open_stream(
    request: CaptureRequest, ring: FrameRing, owner: OwnerConnection, content_type: str = ""
) -> VideoStream:
    """Open the video; ``content_type`` is that of an HTTP address.

    Raises:
        CaptureFailed: it cannot be opened, or its pictures are too large.
    """
    address, options = CameraAddress(request.address), request.options
    owner.send("opening")
    # An absolute path: a relative one with a colon in it would be read as a protocol.
    name = str(address.local_path.absolute()) if address.local_path else address.text
    settings = address.ffmpeg_options(options.transport, is_patient=request.is_patient)
    limits_s = (options.open_timeout_s, options.first_picture_s + _READ_SPARE_S)
    try:
        video = VideoStream(name, settings, limits_s, options.size)
    except CaptureFailed as err:
        if not content_type.startswith("multipart/"):
            sent = f"; the camera sends {content_type}" if content_type else ""
            raise CaptureFailed(f"{err}{sent}") from err
        # Some cameras (ESP32-CAM, Tasmota) leave out the first boundary; this reader looks for pictures only.
        video = VideoStream(name, settings, limits_s, options.size, form="mjpeg")
    width, height = video.shape
    require_room(*fit(max(1, width), max(1, height), options.size), ring.slot_bytes)
    ring.beat(time.monotonic())
    owner.send("opened", width=width, height=height, backend="PyAV")
    return video


def _write_still(still: bytes, memory: memoryview) -> tuple[int]:
    if len(still) > len(memory):
        raise CaptureFailed(f"a picture of {len(still)} bytes; at most {len(memory)} are allowed")
    memory[: len(still)] = still
    return (len(still),)
