"""A connection while it shakes hands; then it is one of :class:`BoundedProtocol` over TLS.

asyncio counts a connection for its protocol only after the handshake. Here a client that says nothing takes one of the
places from the start, and gives it back in :data:`STALL_S`.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from edge_runtime.http import bounded_protocol
from edge_runtime.http.bounded_protocol import BoundedConnection, BoundedProtocol, make_room
from edge_runtime.serving.client_network import network_of


class TlsProtocol(asyncio.Protocol, BoundedConnection):
    """One connection; see the module.

    Args:
        get_context: Gives the certificate of now.
        given: What the server gives each protocol.
    """

    def __init__(self, get_context: Callable[[], ssl.SSLContext], **given: Any) -> None:
        self._get_context, self._given = get_context, given
        self._connections: set[Any] = given["server_state"].connections
        self._early = bytearray()
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and end another connection if there are too many."""
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()  # nothing of the handshake is for this protocol
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.address = network_of(str(peer[0])) if peer else ""
        loop = asyncio.get_running_loop()
        self.waits_since_s = loop.time()
        make_room(self._connections, self, self.waits_since_s)
        self._connections.add(self)
        self._task = loop.create_task(self._shake_hands(loop))

    async def _shake_hands(self, loop: asyncio.AbstractEventLoop) -> None:
        limit_s = bounded_protocol.STALL_S
        if self.transport.is_closing():  # ended for another one already
            self._connections.discard(self)
            return
        try:
            encrypted = await loop.start_tls(
                self.transport, self, self._get_context(), server_side=True,
                ssl_handshake_timeout=limit_s, ssl_shutdown_timeout=limit_s,
            )  # fmt: skip
        except OSError as err:  # it has gone, said nothing in time, or talks no TLS
            # Its frames hold the exception and 256 KiB of buffer, which else stay until the collector comes.
            err.__traceback__ = None
            return
        finally:
            self._connections.discard(self)
        if encrypted is None or self._is_lost:
            return
        inner = BoundedProtocol(**self._given)
        inner.wire = self.transport
        encrypted.set_protocol(inner)
        inner.connection_made(encrypted)
        if self._early:
            inner.data_received(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        """A request that came in the same packet as the end of the handshake."""
        self._early += data

    def connection_lost(self, _: Exception | None) -> None:
        """Before the handshake was over."""
        self._is_lost = True

    def end(self) -> None:
        """Cut it."""
        self._connections.discard(self)
        self.transport.abort()

    def shutdown(self) -> None:
        """The server stops."""
        self.end()
