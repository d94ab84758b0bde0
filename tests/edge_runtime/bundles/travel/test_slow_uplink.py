"""A push over a line that is slow, or to a registry that takes nothing."""

import socket
import ssl

import pytest
import trustme

from edge_runtime.bundles.travel import bounded_http
from edge_runtime.bundles.travel.oras_registry import OrasRegistry
from edge_runtime.bundles.travel.push import CHUNK_BYTES
from edge_runtime.bundles.travel.reference import Reference
from edge_runtime.errors import RegistryLost
from tests.support.scripted_http import Answer, ScriptedServer

pytestmark = pytest.mark.integration


def send(server, data, *, plain_http=True):
    scheme = "http" if plain_http else "https"
    with OrasRegistry(
        Reference(server.host, "acme/parts", "4", None), None, plain_http=plain_http
    ) as registry:
        return registry.send_chunk(f"{scheme}://{server.host}/upload", 0, data)


@pytest.fixture
def context(tmp_path, monkeypatch):
    """For a server with a certificate that is trusted."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setattr(Reference, "is_loopback", False)
    return context


@pytest.mark.parametrize("plain_http", [True, False])
def test_a_chunk_that_goes_on_may_take_longer_than_a_connection(monkeypatch, context, plain_http):
    monkeypatch.setattr(bounded_http, "CONNECT_TIMEOUT_S", 0.5)
    data = bytes(CHUNK_BYTES)

    def answer(asked):
        return Answer() if asked.path == "/v2/" else Answer(202, {"Location": "/upload"})

    with ScriptedServer(answer, None if plain_http else context, gap_s=0.01) as server:
        send(server, data, plain_http=plain_http)
    assert server.asked[-1].body == data


def test_a_registry_that_takes_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(bounded_http, "GRACE_S", 0.3)
    with ScriptedServer(lambda _: Answer(), gap_s=1000) as server, pytest.raises(RegistryLost, match="1024"):
        send(server, bytes(CHUNK_BYTES))


def test_the_operating_system_keeps_little_that_is_not_sent_yet(monkeypatch):
    """Else the answer to a chunk is waited for while megabytes of it still travel."""
    opened = []
    connect = socket.socket.connect

    def note(self, address):
        connect(self, address)
        opened.append(self.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT))

    monkeypatch.setattr(socket.socket, "connect", note)
    with ScriptedServer(lambda _: Answer(202, {"Location": "/upload"})) as server:
        adapter = bounded_http.make_bounded_adapter(is_allowed=True)
        adapter.poolmanager.urlopen("PUT", f"http://{server.host}/", body=b"1")
        adapter.proxy_manager_for(f"http://{server.host}").urlopen("PUT", "http://registry/", body=b"1")
    assert opened == [bounded_http.PIECE_BYTES] * 2
