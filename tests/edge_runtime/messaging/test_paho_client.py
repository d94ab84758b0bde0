"""Who ended a connection, whichever of reading and writing meets its end first."""

import socket

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_runtime.messaging.mqtt.paho_client import PahoClient


@pytest.fixture
def pair():
    """A client and the other end of its connection."""
    near, far = socket.socketpair()
    client = PahoClient(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client._sock = near
    yield client, far
    far.close()
    client._sock_close()


@pytest.mark.parametrize(
    "meet", [lambda client: client._sock_recv(1), lambda client: client._sock_send(b"x")]
)
@pytest.mark.parametrize("error", [ConnectionResetError, BrokenPipeError])
def test_an_end_that_the_other_side_made_is_known(pair, monkeypatch, meet, error):
    client, _ = pair

    class Reset:
        def recv(self, _):
            raise error

        send = recv

    monkeypatch.setattr(client, "_sock", Reset())
    with pytest.raises(error):
        meet(client)
    assert client.is_closed_by_peer
    monkeypatch.undo()


def test_a_write_after_the_other_side_has_closed_tells_who_ended_it(pair):
    client, far = pair
    assert client._sock_send(b"x") == 1
    assert not client.is_closed_by_peer
    far.close()
    with pytest.raises(BrokenPipeError):
        client._sock_send(b"x")
    assert client.is_closed_by_peer


@pytest.mark.parametrize("error", [TimeoutError, BlockingIOError, OSError])
def test_another_failure_is_not_the_other_side_s_doing(pair, monkeypatch, error):
    client, _ = pair

    class Failing:
        def send(self, _):
            raise error

    with monkeypatch.context() as patched:
        patched.setattr(client, "_sock", Failing())
        patched.setattr(client, "_call_socket_register_write", lambda: None)
        with pytest.raises(error):
            client._sock_send(b"x")
    assert not client.is_closed_by_peer
