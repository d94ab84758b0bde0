"""The load on a server, against a small real one."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from benchmarks.performance.peers.http_load import PATH, PeerFailed, connected, post

pytestmark = pytest.mark.integration

received: list[tuple[str, bytes]] = []


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        received.append((self.path, body))
        answer = b'{"error": "bad"}' if body == b"bad" else b'{"top": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    received.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_posts_the_bytes_as_they_are_on_one_connection(port: int) -> None:
    connection = connected(port)
    for picture in (b"\xff\xd8one", b"\xff\xd8two"):
        post(connection, picture)
    connection.close()
    assert received == [(PATH, b"\xff\xd8one"), (PATH, b"\xff\xd8two")]


def test_an_answer_without_classes_is_a_failure(port: int) -> None:
    connection = connected(port)
    with pytest.raises(PeerFailed, match="bad"):
        post(connection, b"bad")
    connection.close()
