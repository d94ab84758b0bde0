"""The cameras of the network, by WS-Discovery as ONVIF uses it: one question to all, and what answers within seconds.

Written here, in two functions: the library for it (WSDiscovery) parses what strangers send with a parser that they can
exhaust, and starts threads that join groups. Only what belongs to our question counts; of an answer only the
sender's address is taken, and names for a person. No camera is asked for its streams: that needs its password.

Sources: WS-Discovery 1.0 (April 2005), sections 5.2 and 5.3; ONVIF Core Specification, 7.3 (Discovery).
"""

import re
import selectors
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple
from urllib.parse import unquote

from edge_runtime.cli.printable import make_printable

GROUP = ("239.255.255.250", 3702)
WAIT_S = 3.0
_TRIES_S = (0.0, 0.5)
"""UDP loses messages; a device answers the second question that it has answered before too."""
_MOST_ANSWERS, _MOST_BYTES = 256, 65_535
"""Anybody in the network may send as many as he likes."""
_MOST_NAME = 60
_ADDRESSING = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"
_DISCOVERY = "{http://schemas.xmlsoap.org/ws/2005/04/discovery}"
_SCOPE = re.compile(r"onvif://www\.onvif\.org/(name|hardware)/(\S+)", re.IGNORECASE)
_PROBE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
    ' xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"'
    ' xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><e:Header>'
    "<w:MessageID>{message}</w:MessageID>"
    "<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>"
    "<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>"
    "<e:Body><d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"
)
_STREAMS = (
    ("axis", "/axis-media/media.amp"),
    ("hikvision", "/Streaming/Channels/101"),
    ("hiwatch", "/Streaming/Channels/101"),
    ("dahua", "/cam/realmonitor?channel=1&subtype=0"),
    ("amcrest", "/cam/realmonitor?channel=1&subtype=0"),
    ("reolink", "/h264Preview_01_main"),
    ("hanwha", "/profile1/media.smp"),
    ("uniview", "/media/video1"),
    ("vivotek", "/live1s1.sdp"),
    ("tapo", "/stream1"),
    ("bosch", "/?inst=1"),
)
"""Where makers have their main stream, by a word of the name; a manual of a model may say otherwise."""
_OTHER_STREAM = "/stream1"


class NetworkCamera(NamedTuple):
    """A device that says it is a camera."""

    host: str
    """IPv4 address that the answer came from."""
    name: str
    """What it calls itself, printable; empty when it does not say."""

    @property
    def address_hint(self) -> str:
        """A likely address of its stream, without user and password."""
        name = self.name.lower()
        return f"rtsp://{self.host}{next((path for word, path in _STREAMS if word in name), _OTHER_STREAM)}"


def find_network_cameras(
    wait_s: float = WAIT_S,
    group: tuple[str, int] = GROUP,
    interfaces: Sequence[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[NetworkCamera]:
    """All that answer within ``wait_s`` seconds, by address.

    Args:
        wait_s: The end, however much is sent.
        group: Whom to ask.
        interfaces: IPv4 addresses of this box to ask from; None: all but its loopback.
        clock: Monotonic seconds.
    """
    message, found = f"urn:uuid:{uuid.uuid4()}", dict[str, NetworkCamera]()
    question, began_s, answers, asked = _PROBE.format(message=message).encode(), clock(), 0, 0
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        sockets = _open_sockets(_list_addresses() if interfaces is None else interfaces, stack)
        for one in sockets:
            selector.register(one, selectors.EVENT_READ)
        while sockets and (left_s := began_s + wait_s - clock()) > 0 and answers < _MOST_ANSWERS:
            if asked < len(_TRIES_S) and clock() - began_s >= _TRIES_S[asked]:
                asked += 1
                _ask(sockets, question, group)
            for key, _ in selector.select(min(left_s, 0.1)):
                answers += 1
                camera = _receive(key.fileobj, message)
                if camera is not None:
                    found.setdefault(camera.host, camera)
    return sorted(found.values(), key=lambda one: tuple(map(int, one.host.split("."))))


def read_answer(data: bytes, message: str) -> str | None:
    """The name in an answer to our question, which may be empty; None for anything else."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        root = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # the last two: its encoding
        return None
    if (root.findtext(f".//{_ADDRESSING}RelatesTo") or "").strip() != message:
        return None
    match = root.find(f".//{_DISCOVERY}ProbeMatch")
    if match is None:
        return None
    parts = dict(_SCOPE.findall(match.findtext(f"{_DISCOVERY}Scopes") or ""))
    words = dict.fromkeys(unquote(parts[key]) for key in ("name", "hardware") if key in parts)
    name = " ".join(" ".join(words).split())
    return make_printable(name)[:_MOST_NAME]


def _list_addresses() -> list[str]:
    """IPv4 addresses of this box: cameras are often on a network of their own."""
    import psutil

    found = [
        one.address
        for addresses in psutil.net_if_addrs().values()
        for one in addresses
        if one.family is socket.AF_INET
    ]
    return [address for address in found if not address.startswith("127.")]


def _open_sockets(interfaces: Sequence[str], stack: ExitStack) -> list[socket.socket]:
    sockets = []
    for address in interfaces:
        one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            one.bind((address, 0))
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
            one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)  # this network only
            one.setblocking(False)
        except OSError:  # it has gone
            continue
        sockets.append(one)
    return sockets


def _ask(sockets: Sequence[socket.socket], question: bytes, group: tuple[str, int]) -> None:
    for one in sockets:
        try:
            one.sendto(question, group)
        except OSError:  # no route: nothing is found there
            continue


def _receive(source: object, message: str) -> NetworkCamera | None:
    assert isinstance(source, socket.socket)
    try:
        data, (host, _) = source.recvfrom(_MOST_BYTES)
    except OSError:
        return None
    name = read_answer(data, message)
    return None if name is None else NetworkCamera(host, name)
