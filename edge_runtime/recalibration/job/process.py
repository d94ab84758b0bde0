"""Starts, watches and ends the recalibration process; the work itself is in ``worker``.

A job is a folder with ``job.json`` (the request); its frames are handed over in an anonymous file in memory, so that no
picture is written to the disk for it. The process writes ``outcome.json`` last, so an outcome that can be read is
whole. Whatever happens to the process, live inference does not notice.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import StateError
from edge_runtime.recalibration.job.messages import (
    PROGRESS,
    REQUEST,
    RESULT,
    JobFailure,
    JobProgress,
    JobRequest,
    JobResult,
)
from edge_runtime.system.child_process import ONE_THREAD, environment_without_secrets, start_child
from edge_runtime.system.own_folder import remove
from edge_runtime.system.watched_child import LastWords

MOST_WORDS_BYTES = 1 << 20
"""A job that prints more has run wild; it is read at each look, so that it waits rather than fills anything."""
WORKER = "edge_runtime.recalibration.job.worker"


class JobProcess:
    """A job in a child process, started at once.

    Raises:
        StateError: the job folder cannot be written, or no process can be started.
    """

    def __init__(
        self, folder: Path, request: JobRequest, pixels: NDArray[Any] | None, deadline_s: float
    ) -> None:
        self.folder, self._deadline_s = folder, deadline_s
        try:
            remove(folder, below=folder.parent)
            folder.mkdir(parents=True)
            REQUEST.write(folder, request)
            with _hand_over(pixels) as handed:
                self._process = start_child(
                    WORKER,
                    [str(folder), *map(str, handed)],
                    env=environment_without_secrets() | ONE_THREAD,
                    pass_fds=handed,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            self._words = LastWords(self._process.stdout)
        except OSError as err:
            raise StateError(
                f"cannot start a recalibration in {folder}: {err.strerror}; check space"
            ) from err

    def poll(self, now_s: float) -> JobResult | None:
        """The result once there is one, which may be a failure of the process; one past its deadline is killed."""
        status = self._process.poll()
        self._words.read()
        if status is None:
            if self._words.said_bytes > MOST_WORDS_BYTES:
                self.kill()
                return JobFailure(
                    f"printed more than {MOST_WORDS_BYTES} bytes and was ended", is_lasting=True
                )
            if now_s < self._deadline_s:
                return None
            self.kill()
            return JobFailure("took longer than recalibration.timeout_s and was ended")
        self._words.close()
        try:
            return RESULT.read(self.folder)
        except OSError:
            words = self._words.last_line or "no message (killed, or out of memory?)"
            return JobFailure(f"process ended with status {status}: {words}")
        except StateError as err:
            return JobFailure(str(err))

    @property
    def progress(self) -> JobProgress | None:
        """How far it is, by its own account; None while it has given none. Safe from any thread."""
        try:
            return PROGRESS.read(self.folder)
        except (OSError, StateError):
            return None

    def kill(self) -> None:
        """End it now; idempotent."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(timeout=10)
        self._words.close()


@contextlib.contextmanager
def _hand_over(pixels: NDArray[Any] | None) -> Iterator[tuple[int, ...]]:
    """A file that has no name and lies in memory, for a child to inherit; nothing where there are no frames.

    Raises:
        OSError: not enough memory.
    """
    if pixels is None:
        yield ()
        return
    with os.fdopen(os.memfd_create("reference-frames"), "wb") as file:
        np.save(file, pixels, allow_pickle=False)
        file.flush()
        file.seek(0)  # the child's descriptor shares this position
        yield (file.fileno(),)
