"""The HTTP server is told when to end, and looks seldom."""

import asyncio
import threading

import pytest
import uvicorn

from edge_runtime.http import quiet_server
from edge_runtime.http.quiet_server import QuietServer
from tests.support.waiting import WAIT_S, until


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(quiet_server, "TICK_S", 2 * WAIT_S)
    config = uvicorn.Config(None, port=0, loop="asyncio", lifespan="off", log_config=None, log_level="error")
    return QuietServer(config)


def test_a_stop_from_another_thread_ends_it_at_once(server):
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert until(lambda: server.server_state.default_headers), "the first tick sets the header of the date"
    server.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    server.stop()


def test_a_stop_before_the_start_counts(server):
    server.stop()
    asyncio.run(asyncio.wait_for(server.main_loop(), WAIT_S))
