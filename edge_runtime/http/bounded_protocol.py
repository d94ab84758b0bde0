"""HTTP connections that cannot be held for ever: uvicorn's protocol with limits in time and number.

uvicorn limits the pause after an answer only. Here a connection ends when no whole request and no further
:data:`BODY_STEP_BYTES` of a body come, or nothing of an answer can be sent, for :data:`STALL_S`; the time that it takes
to make an answer, or its next part, is ours, not the client's. And when :data:`MAX_CONNECTIONS` are open, a new one
takes the place of the one that has waited longest, of the client that has most. So there is always an answer for a
probe of health, and strangers who only connect end each other, and no answer that is under way.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_runtime.serving.client_network import network_of

MAX_CONNECTIONS = 64
STALL_S = 5.0
BODY_STEP_BYTES = 64 * 1024
_CHECK_S = 1.0

_Key = TypeVar("_Key")


def choose_victim(waiting: Mapping[_Key, tuple[str, float]]) -> _Key:
    """The connection to end: of the client that has most of them, the one that has waited longest.

    Args:
        waiting: By connection, which is not empty: the client's address, and since when it waits (seconds).
    """
    most = Counter(client for client, _ in waiting.values())
    return min(waiting, key=lambda one: (-most[waiting[one][0]], waiting[one][1]))


class BoundedConnection:
    """One that can be ended for another."""

    address: str
    """The network of the client."""
    waits_since_s: float
    """Of the last step forward: connected, a whole request, a whole answer, a part of one taken."""

    @property
    def is_waited_for(self) -> bool:
        """Whether the next step forward is the client's."""
        return True

    def end(self) -> None:
        """Cut it, whatever is still to be sent."""
        raise NotImplementedError


def make_room(connections: Iterable[object], new: BoundedConnection, now_s: float) -> None:
    """End one of the others if there are too many."""
    others = {
        one: (one.address, one.waits_since_s if one.is_waited_for else now_s)
        for one in connections
        if isinstance(one, BoundedConnection) and one is not new
    }
    if len(others) >= MAX_CONNECTIONS:
        choose_victim(others).end()


class BoundedProtocol(H11Protocol, BoundedConnection):
    """One connection; see the module."""

    wire: asyncio.Transport | None = None
    """Below TLS."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take a new connection, and end another one if there are too many."""
        super().connection_made(transport)
        self.address = network_of(self.client[0]) if self.client else ""
        self.waits_since_s = self.loop.time()
        self._unsent_bytes, self._received_bytes = 0, 0
        self._timer = self.loop.call_later(_CHECK_S, self._check)
        make_room(self.connections, self, self.waits_since_s)

    def end(self) -> None:
        """Cut it, whatever is still to be sent."""
        self.connections.discard(self)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Also stop looking after it: a timer that waits, or has run, keeps it and the buffers of TLS in memory."""
        self._timer.cancel()
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()

    def data_received(self, data: bytes) -> None:
        """A whole head of a request is a step forward, and a good part of a body; not each byte."""
        before, was_whole = self.cycle, self._is_answering
        super().data_received(data)
        self._received_bytes += len(data)
        is_step = self._received_bytes >= BODY_STEP_BYTES
        if self.cycle is not before or self._is_answering is not was_whole or is_step:
            self._received_bytes = 0
            self.waits_since_s = self.loop.time()

    def on_response_complete(self) -> None:
        """The next request has all the time again."""
        self.waits_since_s = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        """The server stops: an answer that has no end, and nothing to say now, ends here."""
        is_idle = self._is_answering and self.cycle.response_started and not self._count_unsent()
        super().shutdown()
        if is_idle:
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        """Whether the whole request is here, and not all of its answer was made."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    @property
    def is_waited_for(self) -> bool:
        """Not while an answer, or its next part, is made."""
        return not self._is_answering or self._count_unsent() > 0

    def _count_unsent(self) -> int:
        """What waits to be encrypted, and to be sent."""
        over_tls = 0 if self.wire is None else self.wire.get_write_buffer_size()
        return self.transport.get_write_buffer_size() + over_tls

    def _check(self) -> None:
        now_s, unsent_bytes = self.loop.time(), self._count_unsent()
        if unsent_bytes < self._unsent_bytes or not self.is_waited_for:
            self.waits_since_s = now_s
        self._unsent_bytes = unsent_bytes
        if now_s - self.waits_since_s >= STALL_S:
            self.end()
        else:
            self._timer = self.loop.call_later(_CHECK_S, self._check)
