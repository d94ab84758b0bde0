"""paho's client with three gaps closed, which needs its private methods.

* paho ends the connection when it does not know the reason code of an acknowledgement (2.2: also 0x95, which mosquitto
  gives). Here every code from 0x80 on is a refusal; :attr:`PahoClient.last_code` is the true one.
* paho reads whatever length a packet announces. Here a larger one than was allowed ends the connection.
* paho does not tell who ended a connection.

Should these methods go, the tests of ``session`` against a broker that misbehaves fail.
"""

from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

_UNSPECIFIED_ERROR = 0x80
_KNOWN_CODES = frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})
"""Of an acknowledgement; MQTT v5 section 3.4.2.1."""


class PahoClient(paho.Client):
    """See the module."""

    max_packet_bytes = 268_435_455
    """Larger packets are not read."""
    last_code = 0
    """Reason code of the acknowledgement that is being handled, for ``on_publish``; 0 outside, as for QoS 0."""
    is_closed_by_peer = False
    oversized_bytes: int | None = None
    """The length of the packet that ended the connection because it was too large."""

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > self.max_packet_bytes:
            self.oversized_bytes = bufsize
            raise ConnectionAbortedError(f"a packet of {bufsize} bytes was announced")
        try:
            data = super()._sock_recv(bufsize)
        except (ConnectionResetError, BrokenPipeError):
            self.is_closed_by_peer = True
            raise
        if not data:
            self.is_closed_by_peer = True
        return data

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except (ConnectionResetError, BrokenPipeError):
            self.is_closed_by_peer = True
            raise

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet: Any = self._in_packet["packet"]
        self.last_code = packet[2] if len(packet) > 2 else 0
        if self.last_code not in _KNOWN_CODES:
            packet = bytearray(packet)
            packet[2] = _UNSPECIFIED_ERROR if self.last_code >= _UNSPECIFIED_ERROR else 0
            self._in_packet["packet"] = packet
        try:
            return super()._handle_pubackcomp(cmd)
        finally:
            self.last_code = 0
