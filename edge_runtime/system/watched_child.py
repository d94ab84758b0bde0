"""Waits for a child process whose words and life are bounded: the output is counted while it is read."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import IO

from edge_runtime.system.redaction import redact_url

_LOOK_S = 0.05
_CHUNK_BYTES = 16384
_MOST_CHUNKS = 128
KEPT_BYTES = 4096
"""Of the end of what a child says."""
MOST_ANSWER_BYTES, MOST_ERROR_BYTES = 65536, 1 << 20
"""Of standard output and standard error of a child that is waited for."""


class End(StrEnum):
    """Why a child is gone."""

    BY_ITSELF = "by itself"
    TIMEOUT = "timeout"
    TOO_MUCH_OUTPUT = "too much output"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that is gone, and what it said."""

    end: End
    status: int
    """Exit code; negative is the signal that ended it."""
    answer: bytes
    """All of its standard output, unless that was too much."""
    last_words: str
    """The end of its standard error."""


class LastWords:
    """The end of what a child says, read without waiting; a child that says too much waits for its reader."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        assert stream is not None, "started with a pipe"
        self._stream, self._kept = stream, b""
        self.said_bytes = 0
        """All that was read so far."""
        os.set_blocking(stream.fileno(), False)

    def read(self) -> None:
        """Take what is there, up to a limit: the other end may write as fast as this one reads."""
        for _ in range(_MOST_CHUNKS):
            if self._stream.closed:
                return
            try:
                chunk = os.read(self._stream.fileno(), _CHUNK_BYTES)
            except BlockingIOError:
                return
            if not chunk:
                return
            self.said_bytes += len(chunk)
            self._kept = (self._kept + chunk)[-KEPT_BYTES:]

    def close(self) -> None:
        """Take the rest and give the pipe back; idempotent."""
        self.read()
        self._stream.close()

    @property
    def last_line(self) -> str | None:
        """The last line that is not empty, without the secrets of URLs, at most 400 characters."""
        lines = self._kept.decode(errors="replace").strip().splitlines()
        return redact_url(lines[-1].strip())[:400] if lines else None


def wait_for_child(
    process: subprocess.Popen[bytes],
    *,
    timeout_s: float,
    in_all_s: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Ended:
    """Read both pipes of a child until it has ended; one that takes or says too much is killed. It is gone afterwards.

    Args:
        process: Has pipes as standard output and standard error.
        timeout_s: Longest silence on its standard output: whatever it writes there is progress.
        in_all_s: Longest life; as long as the silence when it is None.
        should_stop: Asked twenty times a second.
    """
    assert process.stdout is not None, "started with stdout=PIPE"
    assert process.stderr is not None, "started with stderr=PIPE"
    answer, words, said_bytes = b"", b"", 0
    began_s, end = time.monotonic(), End.BY_ITSELF
    last_s = began_s + (timeout_s if in_all_s is None else in_all_s)
    end_s = began_s + timeout_s
    try:
        with selectors.DefaultSelector() as pipes:
            for stream in (process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
                pipes.register(stream, selectors.EVENT_READ)
            while pipes.get_map():
                if should_stop():
                    end = End.STOPPED
                elif time.monotonic() >= min(end_s, last_s):
                    end = End.TIMEOUT
                elif len(answer) > MOST_ANSWER_BYTES or said_bytes > MOST_ERROR_BYTES:
                    end = End.TOO_MUCH_OUTPUT
                if end is not End.BY_ITSELF:
                    break
                for key, _ in pipes.select(_LOOK_S):
                    chunk = os.read(key.fd, _CHUNK_BYTES)
                    if not chunk:
                        pipes.unregister(key.fileobj)
                    elif key.fileobj is process.stdout:
                        answer, end_s = answer + chunk, time.monotonic() + timeout_s
                    else:
                        words, said_bytes = (words + chunk)[-KEPT_BYTES:], said_bytes + len(chunk)
            else:
                end = _wait_for_end(process, min(end_s, last_s), should_stop)
    finally:
        process.kill()
        status = process.wait()
        process.stdout.close()
        process.stderr.close()
    return Ended(end, status, answer[:MOST_ANSWER_BYTES], words.decode(errors="replace"))


def _wait_for_end(process: subprocess.Popen[bytes], end_s: float, should_stop: Callable[[], bool]) -> End:
    """A child may close its pipes and live on."""
    while True:
        try:
            process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            if should_stop():
                return End.STOPPED
            if time.monotonic() >= end_s:
                return End.TIMEOUT
        else:
            return End.BY_ITSELF
