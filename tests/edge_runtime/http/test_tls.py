"""The server over TLS: its certificate, and clients that talk no TLS or nothing at all."""

import contextlib
import gc
import os
import socket
import ssl
import time
from asyncio.sslproto import SSLProtocol
from types import SimpleNamespace

import httpx
import pytest

from edge_runtime.http import bounded_protocol
from edge_runtime.http.bounded_protocol import MAX_CONNECTIONS
from edge_runtime.serving import certificate
from edge_runtime.serving.certificate import CertificateFiles
from tests.support.http_bench import Bench
from tests.support.http_tokens import bearer, make_access
from tests.support.mosquitto import make_tls_files
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

BIG = [{"id": "x" * 100_000} for _ in range(200)]
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(certificate, "LOOK_EVERY_S", 0.0)
    files = make_tls_files(tmp_path / "first")
    read = CertificateFiles(files.server_cert, files.server_key, time.monotonic)
    bench = Bench(tmp_path, access=make_access(), certificate=read, listed=BIG)
    context = ssl.create_default_context(cafile=str(files.ca))
    yield SimpleNamespace(bench=bench, files=files, context=context, address=("127.0.0.1", bench.server.port))
    bench.close()


def connect(site):
    return socket.create_connection(site.address, timeout=WAIT_S)


def shake_hands(site, context=None):
    return (context or site.context).wrap_socket(connect(site), server_hostname="127.0.0.1")


def is_answered(site):
    with shake_hands(site) as client:
        client.sendall(GET)
        return client.recv(100).startswith(b"HTTP/1.1 200 ")


def count_connections(site):
    return len(site.bench.server._server.server_state.connections)


def test_a_client_that_trusts_the_authority_is_served_and_its_cookie_goes_over_tls_alone(site):
    with httpx.Client(
        base_url=site.bench.url, verify=site.context, timeout=WAIT_S, trust_env=False
    ) as client:
        assert client.get("/results", headers=bearer()).status_code == 200
        opened = client.post("/session", headers=bearer() | {"Origin": site.bench.url})
        assert "Secure" in opened.headers["set-cookie"].split("; ")
        plain = site.bench.url.replace("https", "http")
        assert client.post("/session", headers=bearer() | {"Origin": plain}).status_code == 403
        assert client.get("/results").status_code == 200


def test_a_request_in_one_packet_with_the_end_of_the_handshake_is_answered(site):
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = site.context.wrap_bio(theirs, ours, server_hostname="127.0.0.1")
    with connect(site) as wire:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.sendall(ours.read())
                theirs.write(wire.recv(65536))
        client.write(GET)
        wire.sendall(ours.read())
        answer = b""
        while b"\r\n\r\n" not in answer:
            theirs.write(wire.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                answer += client.read()
    assert answer.startswith(b"HTTP/1.1 200 ")


BEGINNINGS = {
    "nothing": b"",
    "one byte": b"\x16",
    "half a hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "plain HTTP": GET,
    "garbage": os.urandom(4000),
    "a record too long": b"\x16\x03\x01\xff\xff" + b"\x00" * 70_000,
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_however_many_connect_and_stop_there_others_are_served(site, beginning):
    with contextlib.ExitStack() as opened:
        for _ in range(MAX_CONNECTIONS + 6):
            client = opened.enter_context(connect(site))
            with contextlib.suppress(OSError):  # ended already
                client.sendall(BEGINNINGS[beginning])
        assert all(is_answered(site) for _ in range(3))
        assert count_connections(site) <= MAX_CONNECTIONS + 1
    assert site.bench.crashes.in_a_row() == {}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_client_that_stops_there_is_ended(site, monkeypatch, beginning):
    monkeypatch.setattr(bounded_protocol, "STALL_S", 0.3)
    with connect(site) as client:
        with contextlib.suppress(OSError):
            client.sendall(BEGINNINGS[beginning])
        with contextlib.suppress(ConnectionResetError):
            while client.recv(65536):
                pass
    assert until(lambda: not count_connections(site))


def test_a_client_that_reads_slowly_and_goes_on_gets_all(site, monkeypatch):
    monkeypatch.setattr(bounded_protocol, "STALL_S", 1.0)
    monkeypatch.setattr(bounded_protocol, "_CHECK_S", 0.05)
    with shake_hands(site) as client:
        head = [f"{name}: {value}" for name, value in bearer().items()]
        head = ["GET /results?most=200 HTTP/1.1", "Host: localhost", "Connection: close", *head]
        client.sendall("\r\n".join([*head, "", ""]).encode())
        received = 0
        while part := client.recv(1 << 14):
            received += len(part)
    assert received > 200 * 100_000


def test_a_renewed_certificate_is_taken_and_a_half_written_one_is_not(site, tmp_path):
    new = make_tls_files(tmp_path / "second")
    trusts_new = ssl.create_default_context(cafile=str(new.ca))
    site.files.server_cert.write_bytes(new.server_cert.read_bytes())
    assert is_answered(site)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(site, trusts_new)
    site.files.server_key.write_bytes(new.server_key.read_bytes())
    shake_hands(site, trusts_new).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(site)
    site.files.server_key.unlink()
    shake_hands(site, trusts_new).close()


def test_a_connection_that_ends_leaves_no_buffers_to_the_collector(site):
    """Each has 256 KiB: a client that comes and goes would take half a gigabyte before the collector looks."""
    gc.collect()
    gc.disable()
    try:
        for beginning in BEGINNINGS.values():
            assert is_answered(site)
            with connect(site) as client:
                client.sendall(beginning)
        assert until(lambda: not count_connections(site))
        assert until(lambda: not any(isinstance(one, SSLProtocol) for one in gc.get_objects()))
    finally:
        gc.enable()
