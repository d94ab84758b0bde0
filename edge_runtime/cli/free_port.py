"""A port that is free now, for a page that a person is to open."""

import socket

_PORTS = 100


def find_free_port(host: str, first: int) -> int:
    """``first``, or the next one that is free now; ``first`` where none of a hundred is, or the address cannot be used.

    Another program may take it before it is used.
    """
    for port in range(first, min(first + _PORTS, 65536)):
        if is_free(host, port):
            return port
    return first


def is_free(host: str, port: int) -> bool:
    """Whether one could listen there now."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the daemon does
            probe.bind(address)
    except OSError:
        return False
    return True
