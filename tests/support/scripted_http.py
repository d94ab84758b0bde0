"""An HTTP(S) server on loopback whose answers a test scripts; for what a real registry never does."""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

PART_BYTES = 64 * 1024


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    """Said instead of the body's own; a longer one breaks off."""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """``with ScriptedServer(answer) as server``; ``server.asked`` lists every request.

    A body is read in parts of ``PART_BYTES``, with ``gap_s`` before each.
    """

    def __init__(
        self,
        answer: Callable[[Asked], Answer],
        context: ssl.SSLContext | None = None,
        *,
        gap_s: float = 0.0,
    ) -> None:
        self.asked: list[Asked] = []
        asked, stopped = self.asked, threading.Event()
        self._stopped = stopped

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                left, body = int(self.headers.get("Content-Length", 0)), bytearray()
                while left > len(body):
                    if gap_s and stopped.wait(gap_s):
                        return
                    part = self.rfile.read(min(PART_BYTES, left - len(body)))
                    if not part:  # the client has had enough
                        return
                    body += part
                one = Asked(self.command, self.path, dict(self.headers), bytes(body))
                asked.append(one)
                reply = answer(one)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header(
                    "Content-Length", str(len(reply.body) if reply.length is None else reply.length)
                )
                if reply.length is not None:
                    self.close_connection = True
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        for method in ("GET", "HEAD", "POST", "PUT", "PATCH"):
            setattr(Handler, f"do_{method}", Handler.handle_one)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
