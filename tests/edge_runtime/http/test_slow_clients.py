"""Clients that connect and do not go on: they end, and keep no probe of health and nobody else from an answer."""

import asyncio
import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from edge_runtime.daemon.health import Health
from edge_runtime.http import bounded_protocol
from edge_runtime.http.api import build_app
from edge_runtime.http.bounded_protocol import MAX_CONNECTIONS, choose_victim
from edge_runtime.http.server import HttpServer
from edge_runtime.serving.access import Access
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

BIG = [{"id": "x" * 100_000} for _ in range(200)]


def make_app() -> Any:
    return build_app(
        dict,
        lambda: Health(live=True, ready=True),
        lambda most: BIG,
        lambda most: [],
        dict,
        dict,
        dict,
        list,
        Access(),
        Crashes(),
    )


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, make_app, Crashes())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_protocol, "STALL_S", 0.3)
    monkeypatch.setattr(bounded_protocol, "_CHECK_S", 0.05)


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)


def is_healthy(server: HttpServer) -> bool:
    url = f"http://127.0.0.1:{server.port}/healthz"
    return httpx.get(url, timeout=WAIT_S, trust_env=False).status_code == 200


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
BEGINNINGS = {
    "nothing": b"",
    "one byte": b"G",
    "half a head": HEAD,
    "half a line": HEAD + b"X: ",
    "a body that does not come": b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n",
    "a chunk that does not come": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
    "an answered request": HEAD + b"\r\n",
    "an answered request and half of one": HEAD + b"\r\n" + HEAD,
    "a large answer that is not read": b"GET /results?most=500 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "many requests whose answers are not read": (HEAD + b"\r\n") * 200,
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_however_many_connect_and_stop_there_health_is_answered(server: HttpServer, beginning: str) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(MAX_CONNECTIONS + 6):
            client = opened.enter_context(connect(server))
            with contextlib.suppress(OSError):  # ended already, for one that came later
                client.sendall(BEGINNINGS[beginning])
        assert all(is_healthy(server) for _ in range(3))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_a_client_that_stops_there_is_ended(server: HttpServer, beginning: str) -> None:
    with connect(server) as client:
        client.sendall(BEGINNINGS[beginning])
        assert is_healthy(server)  # it came in
        assert until(lambda: not connections(server))


def test_strangers_from_many_addresses_end_each_other_and_no_answer_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded_protocol, "_CHECK_S", 1000.0)  # the last look is as long ago as may be
    told, go_on = threading.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        loops.append(asyncio.get_running_loop())
        told.set()
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"z"})

    loops = list[asyncio.AbstractEventLoop]()
    server = HttpServer("127.0.0.1", 0, lambda: app, Crashes())
    server.start()
    with contextlib.ExitStack() as opened:
        opened.callback(server.stop)
        listener = opened.enter_context(connect(server))
        listener.sendall(HEAD + b"Connection: close\r\n\r\n")
        assert told.wait(WAIT_S)
        for number in range(MAX_CONNECTIONS + 6):
            source = (f"127.1.0.{number + 1}", 0)
            opened.enter_context(
                socket.create_connection(("127.0.0.1", server.port), WAIT_S, source_address=source)
            )
        assert until(lambda: connections(server) == MAX_CONNECTIONS)
        loops[0].call_soon_threadsafe(go_on.set)
        assert b"".join(iter(lambda: listener.recv(1 << 16), b"")).endswith(b"\r\n1\r\nz\r\n0\r\n\r\n")


def connections(server: HttpServer) -> int:
    assert server._server is not None
    return len(server._server.server_state.connections)


FOREIGN = {
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"HTTP/1.1 400"),
    "a web socket": (HEAD + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 200"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", b"HTTP/1.1 400"),
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_strangers_write_nothing_into_the_log(
    server: HttpServer, caplog: pytest.LogCaptureFixture, foreign: str
) -> None:
    request, answer = FOREIGN[foreign]
    with connect(server) as client:
        client.sendall(request)
        assert b"".join(iter(lambda: client.recv(1 << 16), b"")).startswith(answer)
    assert not [one for one in caplog.records if one.name.startswith("uvicorn")]


@pytest.mark.usefixtures("impatient")
def test_a_head_that_comes_byte_by_byte_is_ended(server: HttpServer) -> None:
    with connect(server) as client:
        poll = select.poll()
        poll.register(client, select.POLLIN)
        sent = 0
        for byte in HEAD * 100:
            try:
                client.sendall(bytes([byte]))
            except OSError:
                break
            sent += 1
            if poll.poll(20):
                break
        assert sent < len(HEAD) * 100


@pytest.mark.usefixtures("impatient")
def test_a_client_that_reads_slowly_and_goes_on_gets_all(server: HttpServer) -> None:
    with connect(server) as client:
        client.sendall(b"GET /results?most=200 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = 0
        while part := client.recv(1 << 20):
            received += len(part)
        assert received > 200 * 100_000


@pytest.mark.parametrize(
    ("waiting", "victim"),
    [
        ({"a": ("1", 5.0)}, "a"),
        ({"a": ("1", 5.0), "b": ("1", 4.0)}, "b"),
        ({"a": ("1", 5.0), "b": ("1", 4.0), "c": ("2", 0.0)}, "b"),
        ({"a": ("1", 5.0), "b": ("2", 4.0), "c": ("3", 9.0)}, "b"),
    ],
)
def test_of_the_client_with_most_connections_the_one_that_waited_longest_ends(
    waiting: dict[str, tuple[str, float]], victim: str
) -> None:
    assert choose_victim(waiting) == victim
