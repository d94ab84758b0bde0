"""A listening socket, or why there is none."""

import errno
import os
import socket

from edge_runtime.errors import EdgeRuntimeError, ExitCode

BACKLOG = 64
VANISHED_MS = 30_000
"""A client that acknowledges nothing for so long is gone; Linux else waits a quarter of an hour."""


class NotListening(EdgeRuntimeError):
    """A server cannot begin now; it may be tried again."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"http: {problem}")


class PortUnavailable(NotListening):
    """The address cannot be listened on; the operator must free the port or choose another."""

    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, host: str, port: int, reason: str, key: str = "http.port") -> None:
        super().__init__(f"cannot listen on {host}:{port}: {reason}; change {key} or free it")


def open_listener(host: str, port: int, key: str = "http.port") -> socket.socket:
    """Listen.

    Args:
        host: Address of this machine.
        port: 0 takes a free one.
        key: That sets the port.

    Raises:
        PortUnavailable: the port is taken, not allowed, or the address is not of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
    except (OSError, UnicodeError) as err:
        raise PortUnavailable(host, port, f"no such address ({err})", key) from err
    try:
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        listener = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it, and the next
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, VANISHED_MS)
        return listener
    except OSError as err:
        in_use = err.errno == errno.EADDRINUSE
        reason = "the port is in use" if in_use else os.strerror(err.errno or 0).lower()
        raise PortUnavailable(host, port, reason, key) from err


def prove_address(host: str, port: int, key: str = "http.port") -> None:
    """Listen for a moment.

    Raises:
        PortUnavailable: as ``open_listener``.
    """
    open_listener(host, port, key).close()
