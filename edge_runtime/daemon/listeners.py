"""The servers of the daemon, each with its port; one that cannot listen now tries again."""

from collections.abc import Mapping
from typing import Protocol

import structlog

from edge_runtime.daemon.running import Running
from edge_runtime.serving.listener import NotListening

log = structlog.get_logger()

AGAIN_S = 10.0
"""Between two tries to listen."""


class Server(Protocol):
    """Listens on one port."""

    def start(self) -> None:
        """Listen from now on.

        Raises:
            NotListening: not now; it may be started again.
        """

    def stop(self) -> None:
        """Free the port; idempotent, also where it was never started."""


class Listeners:
    """Used by the daemon's thread.

    Args:
        servers: By the part of health that tells of them, ``http`` and ``grpc``.
        running: Has the problems.
    """

    def __init__(self, servers: Mapping[str, Server], running: Running) -> None:
        self._servers, self._running = servers, running
        self._again_at_s = 0.0

    def start(self, now_s: float, *, is_patient: bool) -> None:
        """Listen.

        Args:
            now_s: Monotonic.
            is_patient: Whether a problem is told and tried again: it does not stop inference.

        Raises:
            NotListening: for a person at a terminal.
        """
        for name in self._servers:
            self._try(name, is_patient=is_patient)
        self._again_at_s = now_s + AGAIN_S

    def tick(self, now_s: float) -> None:
        """Try those again that have no port, when it is time."""
        if self._running.listen_problems and now_s >= self._again_at_s:
            for name in list(self._running.listen_problems):
                self._try(name, is_patient=True)
            self._again_at_s = now_s + AGAIN_S

    def stop(self) -> None:
        """Free all ports."""
        for server in self._servers.values():
            server.stop()

    def _try(self, name: str, *, is_patient: bool) -> None:
        before = self._running.listen_problems
        others = {part: problem for part, problem in before.items() if part != name}
        try:
            self._servers[name].start()
        except NotListening as err:
            if not is_patient:
                raise
            if name not in before:
                log.error("not listening yet", part=name, reason=str(err))
            self._running.listen_problems = {**others, name: err.problem}
        else:
            if name in before:
                log.info("listening", part=name)
            self._running.listen_problems = others
