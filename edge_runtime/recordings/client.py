"""The process that records: takes frames and answers from a running daemon over its socket, writes them down.

The daemon captures and answers; this process encodes and writes, with its own user's rights and at its own pace. When
it is killed the daemon goes on, and the folder holds what was recorded.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from edge_runtime.errors import CommandError, StateError
from edge_runtime.recordings.encoder import PictureEncoder
from edge_runtime.recordings.manifest import Manifest
from edge_runtime.recordings.wire import SOCKET_FILE, VERSION, Link, LinkLost, Message, reach
from edge_runtime.recordings.writer import RecordingFull, RecordingWriter
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.state_lock import find_holder

SILENT_S = 30.0
"""How long a message of the daemon may take: it may be short of CPU, and a frame is megabytes."""
LAST_ANSWERS_S = 10.0
"""How long the end of the recording may take: what is queued is still written."""
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to record, and when to end."""

    for_s: float
    most_bytes: int
    """Of pictures and answers."""
    cameras: tuple[str, ...] = ()
    """None named: all that may be recorded."""
    fps: float | None = None
    """Frames a second of each camera at most; None: all."""
    frames: int | None = None
    """At most; None: as many as come."""


@dataclass(slots=True)
class Recorder:
    """Writes one recording; ``take`` goes on until a limit is reached, ``end`` ends it in good order."""

    link: Link
    writer: RecordingWriter
    manifest: Manifest
    wanted: Wanted
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
    on_generation: Callable[[str, str], None]
    """Called with a model and the first answer's generation of each kind."""
    on_progress: Callable[[float, int, int], None]
    """Told the seconds that went by, the frames and the bytes of their pictures."""
    encoder: PictureEncoder = field(default_factory=PictureEncoder)
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _left_out: int = 0
    _taken: int = 0
    """Frames that came."""
    _is_full: bool = False
    """No more frames are taken."""

    def take(self) -> str:
        """Write what comes, and say why that came to its end.

        Raises:
            StateError: the disk refuses; what was recorded is readable.
        """
        end_s = self.clock() + self.wanted.for_s
        try:
            while (left_s := end_s - self.clock()) > 0:
                if self.wanted.frames is not None and self._taken >= self.wanted.frames:
                    self._is_full = True
                    return f"{self._taken} frames, as asked"
                message = self.link.receive(min(_POLL_S, left_s))
                if message is not None and message.kind == "end":
                    self._left_out = int(message.head.get("left_out", 0))
                    return str(message.head.get("because", "the daemon ended it"))
                if message is not None:
                    self._handle(message)
                self._write_frames()
                self.on_progress(self.wanted.for_s - left_s, self.writer.frames, self.writer.picture_bytes)
        except RecordingFull as err:
            self._is_full = True
            return str(err)
        except LinkLost as err:
            return f"cut off: {err}"
        return f"{self.wanted.for_s:g} s, as asked"

    def end(self, because: str) -> Manifest:
        """Write what is on its way, and how it ended.

        Raises:
            StateError: the disk refuses.
        """
        end_s = self.clock() + LAST_ANSWERS_S
        with suppress(LinkLost, OSError):  # the daemon has ended: the frames that came count
            self.link.end_words()
            while (left_s := end_s - self.clock()) > 0:
                message = self.link.receive(min(_POLL_S, left_s))
                if message is not None and message.kind == "end":
                    self._left_out = int(message.head.get("left_out", 0))
                    break
                if message is not None:
                    self._handle(message)
        with suppress(RecordingFull):
            self._write_frames(is_end=True)
        self.encoder.close()
        return self.writer.end(format_rfc3339(self.wall_clock()), because, self._left_out)

    def _handle(self, message: Message) -> None:
        if message.kind == "frame" and not self._is_full:
            self._taken += 1
            self.encoder.put(dict(message.head["frame"]), message.body)
        elif message.kind == "answer":
            answer = message.head["answer"]
            key = (str(answer["model"]), str(answer.get("generation")))
            is_known = key[0] in self.manifest.models  # its name becomes a part of a path
            if "generation" in answer and is_known and key not in self._seen:
                self._seen.add(key)
                self.on_generation(*key)
            self.writer.add_answer(answer)

    def _write_frames(self, *, is_end: bool = False) -> None:
        for about, data, suffix in self.encoder.take(is_end=is_end):
            self.writer.add_frame(about, data, suffix)


@contextmanager
def connect(state_dir: Path, wanted: Wanted) -> Iterator[tuple[Link, Manifest, str]]:
    """The daemon of a state directory, which has begun to send: with its manifest and its configuration's text.

    Raises:
        StateError: no daemon runs there, or this user may not reach it.
        CommandError: it refuses; says why.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        reach_daemon(sock, state_dir)
        link = Link(sock, SILENT_S)
        try:
            with suppress(LinkLost):  # it may refuse, and close, before it is asked: why is to be read then
                link.send(
                    {"kind": "request", "version": VERSION, "cameras": wanted.cameras, "fps": wanted.fps}
                )
            hello = link.receive(SILENT_S)
        except LinkLost as err:
            raise StateError(f"the daemon of {state_dir} does not answer: {err}; try again") from err
        if hello is None or hello.kind != "hello":
            said = "it is busy" if hello is None else str(hello.head.get("message", "it refuses"))
            raise CommandError(said)
        try:
            manifest = Manifest.model_validate(hello.head["recording"])
        except (KeyError, ValidationError) as err:
            raise StateError(
                f"the daemon of {state_dir} has another version of edge-runtime: use its own"
            ) from err
        yield link, manifest, str(hello.head.get("config", ""))


def reach_daemon(sock: socket.socket, state_dir: Path) -> None:
    """Connect to the daemon of a state directory.

    Raises:
        StateError: no daemon runs there, or this user may not reach it.
    """
    try:
        folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as err:
        raise StateError(
            f"cannot open the state directory {state_dir}: {err.strerror}; run this on the box, "
            "as root or as the daemon's user"
        ) from err
    try:
        sock.connect(str(reach(folder)))
    except PermissionError as err:
        raise StateError(
            f"{state_dir / SOCKET_FILE} is not for this user; run this as root or as the daemon's user"
        ) from err
    except OSError as err:
        if find_holder(state_dir) is not None:
            said = f"the daemon of {state_dir} does not listen: it opens its models or ends; try again when it is ready"
        else:
            said = (
                f"no daemon runs with {state_dir}; start it with 'edge-runtime run', a recording takes the frames "
                "that it captures"
            )
        raise StateError(said) from err
    finally:
        os.close(folder)
