"""Gives frames and answers to a process on this box that records them, over a socket in the state directory.

The daemon's user and root may record, and only streams with ``recordings: true``. A camera can be opened by one
process alone, so the daemon has to give its frames; the other process does what is slow. One recording at a time.
"""

import os
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import structlog

from edge_runtime import __version__
from edge_runtime.config import Config
from edge_runtime.config.secret_values import hide_secrets
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.recording_under_way import RecordingStatus, RecordingUnderWay
from edge_runtime.daemon.running import Running
from edge_runtime.datatypes import Frame
from edge_runtime.errors import CommandError
from edge_runtime.messaging.encoding import encode_array, encode_rejection, encode_result
from edge_runtime.messaging.events import Fact
from edge_runtime.recordings.feed import Feed, Taken, TakenAnswer, TakenRejection, Taking
from edge_runtime.recordings.wire import SOCKET_FILE, VERSION, Link, LinkLost, Message, reach
from edge_runtime.system.plain_text import as_text
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

if TYPE_CHECKING:
    from edge_runtime.recordings.manifest import Manifest, ModelNote

log = structlog.get_logger()

POLL_S = 0.25
SLOW_S = 10.0
"""How long the other process may take nothing, or not say what it wants."""
LAST_ANSWERS_S = 3.0
"""For answers to the last frames; those that were dropped get none."""
STOP_S = 2.0
MOST_REQUEST_BYTES = 64 * 1024
"""Names of cameras; it has no body."""


class RecordingServer:
    """One thread, which waits for a process that wants to record."""

    def __init__(self, running: Running, feed: Feed, emit: Callable[[Fact], None], crashes: Crashes) -> None:
        """Nothing listens yet; ``emit`` publishes that a recording begins or has ended."""
        self._running, self._feed, self._emit = running, feed, emit
        self._under_way: RecordingUnderWay | None = None
        self._listener: socket.socket | None = None
        self._thread = SupervisedThread("recordings", self._run, crashes, is_vital=False)

    def start(self) -> None:
        """Listen; where that is not possible, nothing can be recorded and the daemon goes on."""
        try:
            self._listener = _listen(self._running.config.state_dir)
        except OSError as err:
            log.warning("nothing can be recorded", reason=f"no socket in the state directory: {err.strerror}")
            return
        self._thread.start()

    def stop(self) -> None:
        """End a recording, and listen no more."""
        self._thread.stop()
        if self._listener is not None:
            with suppress(OSError):  # it was closed before
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which waits for a connection
        self._thread.join(STOP_S)
        if self._listener is not None:
            self._listener.close()
            (self._running.config.state_dir / SOCKET_FILE).unlink(missing_ok=True)

    def describe(self) -> RecordingStatus | None:
        """The recording that is under way; safe from any thread."""
        under_way = self._under_way
        return None if under_way is None else under_way.status(self._may_be_recorded)

    def _run(self) -> None:
        while not self._thread.stopping.is_set():
            if (sock := self._accept(None)) is not None:
                with sock:
                    self._serve(Link(sock, SLOW_S, MOST_REQUEST_BYTES, most_body_bytes=0))
            self._thread.succeeded()

    def _accept(self, timeout_s: float | None) -> socket.socket | None:
        """None when none came in time, or this server stops."""
        assert self._listener is not None
        self._listener.settimeout(timeout_s)
        try:
            return self._listener.accept()[0]
        except (TimeoutError, BlockingIOError):
            return None
        except OSError:
            if self._thread.stopping.is_set():
                return None
            raise

    def _serve(self, link: Link) -> None:
        try:
            request = link.receive(SLOW_S)
            if request is None:
                return
            try:
                under_way, hello = self._begin(request, link.find_user())
            except CommandError as err:
                link.send({"kind": "refused", "message": str(err)})
                return
            self._record(link, under_way, hello)
        except LinkLost as err:
            log.info("a process that asked for a recording has gone", reason=str(err))

    def _record(self, link: Link, under_way: RecordingUnderWay, hello: dict[str, Any]) -> None:
        """From begin to end, seen by all who look at the status or listen for events."""
        self._under_way, because = under_way, "the daemon failed"
        try:
            self._emit(under_way.begun())
            link.send(hello)
            because = self._give(link, under_way.taking)
        except LinkLost as err:
            because = f"cut off: {err}"
        finally:
            self._feed.end()
            self._under_way = None
            self._emit(under_way.ended(because, time.monotonic()))

    def _begin(self, request: Message, by: str) -> tuple[RecordingUnderWay, dict[str, Any]]:
        cameras, gap_s = self._check(request)
        hello = {
            "kind": "hello",
            "recording": describe(self._running, cameras).model_dump(mode="json"),
            "config": PROCESS.text(hide_secrets(self._running.config.text.decode("utf-8", "replace"))),
        }
        taking = Taking(frozenset(cameras), gap_s, self._may_be_recorded)
        self._feed.begin(taking)
        return RecordingUnderWay(by, cameras, taking, time.time(), time.monotonic()), hello

    def _check(self, request: Message) -> tuple[tuple[str, ...], float]:
        """The cameras, and the least gap between two frames of one in seconds."""
        wanted, fps = request.head.get("cameras"), request.head.get("fps")
        if request.kind != "request" or request.head.get("version") != VERSION:
            raise CommandError(
                "the daemon has another version of edge-runtime: record with its own command line"
            )
        is_fps = fps is None or (isinstance(fps, int | float) and 0 < fps <= 1000)
        if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted) or not is_fps:
            raise CommandError("expected names of cameras or sensors, and fps above 0")
        return choose_streams(self._running.config, wanted), 0.0 if fps is None else 1.0 / fps

    def _may_be_recorded(self, stream: str) -> bool:
        """By the configuration of now: an edit may forbid it meanwhile."""
        section = self._running.config.streams.get(stream)
        return section is not None and section.recordings

    def _give(self, link: Link, taking: Taking) -> str:
        """Until the other side has said its last word or the daemon ends, and then what is on its way; says which."""
        because = "ended by its process"
        while not link.is_readable(0.0):
            if self._thread.stopping.is_set():
                because = "the daemon ends"
                break
            self._refuse_another()
            taken = taking.take(POLL_S)
            if taken is not None:
                _send(link, taken, self._running.config.device)
        taking.stop_frames()
        end_s = time.monotonic() + LAST_ANSWERS_S
        while not (self._thread.stopping.is_set() or taking.is_complete):
            taken = taking.take(POLL_S)
            if taken is not None:
                _send(link, taken, self._running.config.device)
            elif time.monotonic() >= end_s:
                break
        link.send({"kind": "end", "because": because, "left_out": taking.left_out})
        return because

    def _refuse_another(self) -> None:
        if (other := self._accept(0.0)) is None:
            return
        with other:
            try:
                Link(other, POLL_S).send(
                    {"kind": "refused", "message": "another recording is under way; wait for its end"}
                )
            except LinkLost:
                return


def choose_streams(config: Config, wanted: list[str]) -> tuple[str, ...]:
    """Those that are wanted, or all that may be recorded.

    Raises:
        CommandError: one is unknown or may not be recorded; none may.
    """
    streams = config.streams
    allowed = [name for name, section in streams.items() if section.recordings and section.enabled]
    for name in wanted:
        if name not in streams:
            have = ", ".join(streams) or "none"
            raise CommandError(f"{name[:64]!r} is no camera or sensor; this device has: {have}")
        if name not in allowed:
            key = f"{config.section_of(name)}.{name}"
            raise CommandError(
                f"{name!r} may not be recorded; {key}.recordings: true allows it"
                if streams[name].enabled
                else f"{name!r} is off; {key}.enabled: true opens it"
            )
    if not allowed:
        raise CommandError(
            "no camera or sensor may be recorded; cameras.NAME.recordings: true allows it for one"
        )
    return tuple(dict.fromkeys(wanted or allowed))


def describe(running: Running, cameras: tuple[str, ...]) -> "Manifest":
    """The recording that begins now."""
    from edge_runtime.recordings.manifest import Manifest  # costs a start 60 ms, and few record

    models = {name: running.config.streams[name].model for name in cameras}
    opened = dict(running.models)
    return Manifest(
        format="edge-runtime-recording",
        version=1,
        software=__version__,
        device=running.config.device,
        began_at=format_rfc3339(time.time()),
        cameras=models,
        models={name: _note(opened[name]) for name in dict.fromkeys(models.values()) if name in opened},
    )


def _note(runtime: ModelRuntime) -> "ModelNote":
    from edge_runtime.recordings.manifest import ModelNote

    manifest, controller = runtime.bundle.manifest, runtime.controller
    baselines = {} if controller is None else controller.status().baselines
    return ModelNote(
        bundle=runtime.bundle.id,
        folder=str(runtime.bundle.path.resolve()),
        model_sha256=manifest.files[manifest.model],
        generation=str(runtime.pipeline.slot.generation),
        runs_on=runtime.pipeline.slot.engine.runs_on,
        baseline=next((name for name, one in baselines.items() if one.in_use), None),
    )


def _send(link: Link, taken: Taken, device: str) -> None:
    match taken:
        case Frame():
            _send_frame(link, taken)
        case TakenAnswer(result, raw):
            answer = orjson.loads(encode_result(result))
            if raw is not None:
                answer["raw"] = {name: encode_array(name, array) for name, array in raw.items()}
            link.send({"kind": "answer", "answer": answer})
        case TakenRejection(model, rejected):
            link.send({"kind": "answer", "answer": orjson.loads(encode_rejection(rejected, device, model))})


def _send_frame(link: Link, frame: Frame) -> None:
    about: dict[str, Any] = {
        "stream": frame.stream,
        "seq": frame.seq,
        "captured_at": format_rfc3339(frame.captured_at_wall_s),
        "colour": frame.colour,
        "is_tensor": frame.is_tensor,
    }
    if frame.origin is not None and frame.origin.name is not None:
        about["name"] = as_text(frame.origin.name)
    if frame.rate_hz is not None:
        about |= {
            "rate_hz": frame.rate_hz,
            "channels": frame.channels,
            "ended_at_s": frame.captured_at_wall_s,
        }
    picture = frame.payload
    if isinstance(picture, np.ndarray):
        whole = np.ascontiguousarray(picture)
        link.send(
            {"kind": "frame", "frame": {**about, "shape": picture.shape, "dtype": str(picture.dtype)}},
            whole.data.cast("B"),
        )
    else:
        assert isinstance(picture, bytes)
        link.send({"kind": "frame", "frame": about}, picture)


def _listen(state_dir: Path) -> socket.socket:
    """The socket, in place of one that an earlier daemon left; only its user and root may connect."""
    folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = reach(folder)
        try:
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            path.chmod(0o600)  # nobody connects before it listens
            listener.listen(2)
        except OSError:
            listener.close()
            raise
        return listener
    finally:
        os.close(folder)
