"""Connections over gRPC that nobody calls on: they take no place for long."""

import contextlib
import socket

import grpc
import pytest

from edge_runtime.grpc import server
from edge_runtime.system.supervised_thread import Crashes
from tests.support.mosquitto import free_port
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
BEGINNINGS = {
    "nothing": (b"", "grpc.server_handshake_timeout_ms"),
    "half a preface": (b"PRI", "grpc.server_handshake_timeout_ms"),
    "no settings": (PREFACE, "grpc.server_handshake_timeout_ms"),
    "no call": (PREFACE + SETTINGS, "grpc.max_connection_idle_ms"),
}


def connect(port):
    """None where nothing listens yet."""
    with contextlib.suppress(ConnectionRefusedError):
        return socket.create_connection(("127.0.0.1", port), WAIT_S / 2)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_connection_that_nobody_calls_on_is_ended(monkeypatch, beginning):
    """Not long after the limit, which is far below the library's own."""
    said, limit = BEGINNINGS[beginning]
    assert server._OPTIONS[limit] <= 30_000
    monkeypatch.setitem(server._OPTIONS, limit, 100)
    started = server.GrpcServer(
        "127.0.0.1", free_port(), 1000, lambda: grpc.method_handlers_generic_handler("x", {}), Crashes()
    )
    started.start()
    try:
        stranger = until(lambda: connect(started.port))
        with stranger, contextlib.suppress(ConnectionResetError):
            stranger.sendall(said)
            while stranger.recv(4096):
                pass
    finally:
        started.stop()
