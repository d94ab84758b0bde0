"""Whether a port is free now, and one that is, for a page that a person is to open."""

import socket
from contextlib import suppress

_PORTS = 100


def find_free_port(host: str, first: int) -> int:
    """``first``, or the next one that is free now; ``first`` where none of a hundred is, or the address cannot be used.

    Another program may take it before it is used.
    """
    for port in range(first, min(first + _PORTS, 65536)):
        with suppress(OSError):
            try_port(host, port)
            return port
    return first


def try_port(host: str, port: int) -> None:
    """Opens a port as the daemon does, and closes it.

    Raises:
        OSError: one cannot listen there now: EADDRINUSE where another program does.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
