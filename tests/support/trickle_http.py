"""An HTTP server on loopback that never ends an answer: it sends a head, then a byte at a time."""

import socketserver
import threading
from typing import Self

_GAP_S = 0.01


class TrickleServer:
    """``with TrickleServer(head) as server``; every connection gets the same, until it is closed."""

    def __init__(self, head: bytes) -> None:
        stopped = threading.Event()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.recv(65_536)
                try:
                    self.request.sendall(head)
                    while not stopped.wait(_GAP_S):
                        self.request.sendall(b"x")
                except OSError:  # the client has had enough
                    return

        self._stopped, self._server = stopped, socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
