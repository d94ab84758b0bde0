"""The gRPC server in a thread: a taken port is an error of the start, calls are answered soon after.

Importing this module is cheap: the server's thread imports grpcio, after the daemon's first results.
"""

import asyncio
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from edge_runtime.errors import ExtraMissing
from edge_runtime.serving.certificate import Certificate, CertificateFiles
from edge_runtime.serving.listener import prove_address
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

KEY = "http.grpc_port"
STOP_S = 3.0
GRACE_S = 1.0
"""For calls that are under way at the end."""
MOST_CALLS = 64
"""At a time; of those that wait in a queue there are fewer."""
_OPTIONS = {
    "grpc.so_reuseport": 0,  # else a port that another server has would be shared with it
    "grpc.compression_enabled_algorithms_bitset": 1,  # none: a small message can hold a large one
    "grpc.max_concurrent_streams": MOST_CALLS,
    "grpc.max_allowed_incoming_connections": MOST_CALLS,
    # A stranger takes one of these places without a token: it has to say something, and clients connect again.
    "grpc.server_handshake_timeout_ms": 5_000,
    "grpc.max_connection_idle_ms": 30_000,
    "grpc.http2.bdp_probe": 0,  # else much of each message is in memory before it is read
    "grpc.keepalive_time_ms": 60_000,  # a caller whose cable was pulled
    "grpc.keepalive_timeout_ms": 20_000,
}


def require_grpc() -> None:
    """Whether what the server needs is installed.

    Raises:
        ExtraMissing: it is not.
    """
    # At its first import: else the library writes a line of its own into the log for each stranger without TLS.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        for library in ("grpc", "google.protobuf"):
            import_module(library)
    except ImportError as err:
        raise ExtraMissing(f"answers over gRPC ({KEY})", "grpc") from err


class GrpcServer:
    """A port and the thread that serves it.

    Args:
        host: Address to listen on.
        port: To listen on.
        max_message_bytes: Longer ones are refused while they come.
        make_handler: Makes what answers the calls; called in the server's thread.
        crashes: Counts failures of the thread. They never end the daemon: inference goes on without it.
        certificate: Encrypts; None: nothing is encrypted.
    """

    def __init__(
        self,
        host: str,
        port: int,
        max_message_bytes: int,
        make_handler: Callable[[], Any],
        crashes: Crashes,
        certificate: CertificateFiles | None = None,
    ) -> None:
        self._certificate = certificate
        self._host, self.port, self._make_handler = host, port, make_handler
        self._options = {**_OPTIONS, "grpc.max_receive_message_length": max_message_bytes}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._thread = SupervisedThread("grpc", self._serve, crashes, is_vital=False)

    def start(self) -> None:
        """Calls are answered as soon as the thread has imported what it needs.

        Raises:
            PortUnavailable: the port is taken, not allowed, or the address is not of this machine.
            CertificateUnusable: it cannot be used now.
        """
        if self._certificate is not None:
            self._certificate.read()
        prove_address(self._host, self.port, KEY)
        self._thread.start()

    def stop(self) -> None:
        """Answer open calls, then free the port within about 3 s; idempotent."""
        self._thread.stop()
        loop, stopped = self._loop, self._stopped
        if loop is not None and stopped is not None and self._thread.is_alive:
            loop.call_soon_threadsafe(stopped.set)
        self._thread.join(STOP_S)

    def _serve(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        import grpc.aio

        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        server = grpc.aio.server(options=list(self._options.items()), maximum_concurrent_rpcs=MOST_CALLS)
        server.add_generic_rpc_handlers((self._make_handler(),))
        host = f"[{self._host}]" if ":" in self._host else self._host
        if self._certificate is None:
            server.add_insecure_port(f"{host}:{self.port}")
        else:
            server.add_secure_port(f"{host}:{self.port}", _make_credentials(self._certificate))
        await server.start()
        try:
            self._thread.succeeded()
            if not self._thread.stopping.is_set():
                await self._stopped.wait()
        finally:
            await server.stop(GRACE_S)


def _make_credentials(files: CertificateFiles) -> Any:
    """Asked at each handshake, whether there is another certificate now."""
    import grpc

    used = files.read()

    def wrap(one: Certificate) -> Any:
        return grpc.ssl_server_certificate_configuration([(one.key_pem, one.cert_pem)])

    def fetch() -> Any:
        nonlocal used
        found = files.read()
        if found is used:
            return None
        used = found
        return wrap(found)

    return grpc.dynamic_ssl_server_credentials(wrap(used), fetch)
