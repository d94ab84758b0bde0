"""Which names a request may address this server by.

A page on the internet can point its domain at 127.0.0.1 (DNS rebinding); such a request carries that domain's name. An
address of this machine alone or ``localhost`` in its place cannot be the name of a foreign page.
"""

import re
from ipaddress import IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from edge_runtime.http.answers import answer_json

_HOST = re.compile(rb"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9.-]{1,253}))(?::[0-9]{1,5})?")


def is_loopback_host(header: bytes) -> bool:
    """Whether a ``Host`` header names this machine itself: ``localhost`` or a loopback address, perhaps with a port."""
    found = _HOST.fullmatch(header)
    if found is None:
        return False
    name = (found["v6"] or found["name"]).decode("ascii").lower()
    if name == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback and isinstance(address, IPv6Address) is (found["v6"] is not None)


class LoopbackOnly:
    """ASGI middleware: 400 for a request that is addressed to another name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what is addressed to this machine."""
        hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
        if scope["type"] == "http" and not (len(hosts) == 1 and is_loopback_host(hosts[0])):
            refusal = {"error": "another name in Host; expected localhost or a loopback address"}
            await answer_json(refusal, 400)(scope, receive, send)
            return
        await self._app(scope, receive, send)
