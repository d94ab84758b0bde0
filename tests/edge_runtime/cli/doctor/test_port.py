"""Who has the ports of the daemon: itself, or another program while it runs without."""

import json
import os
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from edge_runtime.cli.doctor.finding import Level
from edge_runtime.cli.doctor.port import examine_health, examine_port
from edge_runtime.config import HttpConfig

ANOTHER = 1
"""A process that listens to neither port."""


class Page(BaseHTTPRequestHandler):
    """Answers as the daemon does."""

    reasons = ("source pump: no frame yet", "disk: little room")

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        health = {"live": True, "ready": False, "reasons": self.reasons}
        self.wfile.write(json.dumps({"device": "box", "health": health}).encode())

    def log_message(self, *_):
        """Nothing."""


@contextmanager
def serve_page():
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("daemon_pid", "levels"),
    [
        (os.getpid(), [Level.OK, Level.OK]),
        (None, [Level.OK, Level.OK]),
        (ANOTHER, [Level.OK, Level.PROBLEM]),
    ],
    ids=["this", "unknown", "another"],  # a number of a process would name the test otherwise in each worker
)
def test_a_daemon_that_answers_has_not_for_that_the_port_of_grpc(daemon_pid, levels):
    with serve_page() as port, socket.create_server(("127.0.0.1", 0)) as other:
        http = HttpConfig(port=port, grpc_port=other.getsockname()[1])
        found = list(examine_port(SimpleNamespace(http=http, device="box"), daemon_pid))
    assert [one.level for one in found] == levels


@pytest.mark.parametrize(("device", "ids"), [("box", ["health.unready", "health.note"]), ("other", [])])
def test_reasons_of_a_daemon_that_is_not_ready_are_findings(device, ids):
    with serve_page() as port:
        found = list(examine_health(SimpleNamespace(http=HttpConfig(port=port), device=device)))
    assert [one.id for one in found] == ids
    assert all(reason in one.found for one, reason in zip(found, Page.reasons, strict=False))
