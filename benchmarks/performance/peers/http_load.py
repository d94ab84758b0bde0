"""A peer as a running server, and the load on it: threads that post a JPEG and wait for the answer, over and over."""

import http.client
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.performance import process_tree
from edge_runtime.cli.bench.bare import run_calls
from edge_runtime.cli.bench.daemon import find_installed_environment

PATH = "/inference"
START_TIMEOUT_S = 60.0


class PeerFailed(Exception):
    """A peer did not start or gave a wrong answer; the text holds what it last said."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One way of serving the model."""

    name: str
    module: str
    workers: int
    """Processes (MLServer: threads) that answer at once."""
    intra: int
    """Threads inside each inference."""
    pictures: str = "ours"
    """Picture code and session: the daemon's, or as documented with ``opencv`` or ``pillow``."""

    @property
    def is_documented(self) -> bool:
        """Whether it runs as a user writes it."""
        return self.pictures != "ours"


class PeerServer:
    """One server and how to ask it."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", port: int, picture: bytes, log: Path, path: str = PATH
    ) -> None:
        """Wait for its first answer.

        Raises:
            PeerFailed: it gives none.
        """
        self._process, self._port, self._log, self._path = process, port, log, path
        began_s = time.perf_counter()
        while not self._answers(picture):
            if process.poll() is not None or time.perf_counter() - began_s > START_TIMEOUT_S:
                raise PeerFailed(f"{process.args!r} gives no answer: {self.last_words()}")
            time.sleep(0.01)
        self.first_result_s = time.perf_counter() - began_s

    def load(self, pictures: Sequence[bytes], streams: int, seconds: float) -> dict[str, Any]:
        """So many callers, each with one request under way."""
        own = threading.local()

        def step(number: int) -> None:
            if not hasattr(own, "connection"):
                own.connection = connected(self._port)
            post(own.connection, pictures[number % len(pictures)], self._path)

        before_s = process_tree.cpu_s(self._process.pid)
        found = run_calls(step, streams, seconds, None)
        used_s = process_tree.cpu_s(self._process.pid) - before_s
        return {
            "frames_per_s": found["frames_per_s"],
            "call_ms": found["call_ms"],
            "cpu_ms_per_frame": 1000 * used_s / max(1, len(found["call_ms"])),
            "pss_mib": process_tree.pss_mib(self._process.pid),
        }

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace").strip()[-500:]

    def _answers(self, picture: bytes) -> bool:
        try:
            post(connected(self._port), picture, self._path)
        except (OSError, http.client.HTTPException, PeerFailed):
            return False
        return True


def connected(port: int) -> http.client.HTTPConnection:
    """A connection that stays open and sends at once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def post(connection: http.client.HTTPConnection, picture: bytes, path: str = PATH) -> None:
    """One picture and its answer.

    Raises:
        PeerFailed: not an answer with classes.
    """
    connection.request("POST", path, picture, {"Content-Type": "application/octet-stream"})
    response = connection.getresponse()
    body = response.read()
    if response.status != 200 or b'"top"' not in body:
        raise PeerFailed(f"{response.status}: {body[:200]!r}")


@contextmanager
def serving(peer: Peer, python: Path, bundle: Path, picture: bytes, folder: Path) -> Iterator[PeerServer]:
    """The peer, started with the interpreter it is installed for, ended with all its children.

    Raises:
        PeerFailed: it does not start.
    """
    port = free_port()
    settings = {
        "PEER_PORT": port,
        "PEER_WORKERS": peer.workers,
        "PEER_INTRA": peer.intra,
        "PEER_PICTURES": peer.pictures,
        "PEER_BUNDLE": bundle,
    }
    settings |= {"PYTHONPATH": Path(__file__).parents[3], "OPENBLAS_NUM_THREADS": 1}
    environment = find_installed_environment() | {name: str(value) for name, value in settings.items()}
    command = [str(python), "-m", f"{__package__}.{peer.module}"]
    with started(command, environment, folder / f"{peer.module}.log") as process:
        yield PeerServer(process, port, picture, folder / f"{peer.module}.log")


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> "Iterator[subprocess.Popen[bytes]]":
    """A program in the folder of its log, ended with all its children."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=log.parent, stdout=out, stderr=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process_tree.end(process.pid)
        process.wait(10)


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
