"""The HTTP server in a thread: a taken port is an error of the start, requests are served soon after.

Importing this module is cheap: the server's thread imports uvicorn and starlette, after the daemon's first results.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from edge_runtime.serving.certificate import CertificateFiles
from edge_runtime.serving.listener import open_listener
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from edge_runtime.http.quiet_server import QuietServer

STOP_S = 3.0
PROXIES = ("127.0.0.1", "::1")
"""Who is believed when it says for whom it asks: the limit of wrong tokens counts by that address."""


class HttpServer:
    """One listening socket and the thread that serves it.

    Args:
        host: Address to listen on.
        port: 0 takes a free one (see ``port``).
        app: Makes the ASGI application; called in the server's thread.
        crashes: Counts failures of the thread. They never end the daemon: inference goes on without pages.
        certificate: Encrypts; None: nothing is encrypted.
    """

    def __init__(
        self,
        host: str,
        port: int,
        app: Callable[[], "ASGIApp"],
        crashes: Crashes,
        certificate: CertificateFiles | None = None,
    ) -> None:
        self._host, self._app, self._certificate = host, app, certificate
        self.port = port
        """After ``start``, the port that it listens on."""
        self._socket: socket.socket | None = None
        self._server: QuietServer | None = None
        self._thread = SupervisedThread("http", self._serve, crashes, is_vital=False)

    def start(self) -> None:
        """Listen from now on; requests are answered as soon as the thread has imported what it needs.

        Raises:
            PortUnavailable: the port is taken, not allowed, or the address is not of this machine.
            CertificateUnusable: it cannot be used now.
        """
        if self._certificate is not None:
            self._certificate.read()
        self._socket = open_listener(self._host, self.port)
        self.port = self._socket.getsockname()[1]
        self._thread.start()

    def stop(self) -> None:
        """Answer open requests, then free the port within about 3 s; idempotent."""
        self._thread.stop()
        if self._server is not None:
            self._server.stop()
        if not self._thread.join(STOP_S) and self._server is not None:
            self._server.force_exit = True
            self._thread.join(STOP_S)
        if self._socket is not None:
            self._socket.close()

    def _serve(self) -> None:
        import uvicorn

        from edge_runtime.http.bounded_protocol import MAX_CONNECTIONS
        from edge_runtime.http.quiet_server import QuietServer

        app = self._app()

        async def serve_one(scope: "Scope", receive: "Receive", send: "Send") -> None:
            await app(scope, receive, send)
            self._thread.succeeded()  # only now: a server that can never listen must wait longer each time

        config = uvicorn.Config(
            serve_one,
            loop="asyncio",
            http=_choose_protocol(self._certificate),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # else strangers write a warning with each request that is none, or asks for more
            access_log=False,
            server_header=False,
            forwarded_allow_ips=list(PROXIES),  # without it uvicorn obeys a variable of the environment
            limit_concurrency=2 * MAX_CONNECTIONS,  # the protocol keeps the number lower
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
        )
        self._server = QuietServer(config)
        if self._thread.stopping.is_set():
            return
        assert self._socket is not None
        # The server closes the sockets it is given, unless it fails early; a second try needs one too.
        with self._socket.dup() as listener:
            self._server.run(sockets=[listener])


def _choose_protocol(certificate: CertificateFiles | None) -> Any:
    """Makes the protocol of a new connection; uvicorn calls it as the class that it names."""
    from edge_runtime.http.bounded_protocol import BoundedProtocol
    from edge_runtime.http.tls_protocol import TlsProtocol

    return (
        BoundedProtocol if certificate is None else partial(TlsProtocol, lambda: certificate.read().context)
    )
