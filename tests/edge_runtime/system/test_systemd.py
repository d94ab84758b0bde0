import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.system.systemd import SystemdNotify
from tests.support.waiting import WAIT_S


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    name = f"edge-runtime-test-{uuid.uuid4()}"
    address, written = (
        (str(tmp_path / "notify"), str(tmp_path / "notify"))
        if request.param == "path"
        else (f"\0{name}", f"@{name}")
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(WAIT_S)
        yield server, written


def test_every_message_arrives_as_systemd_wants_it(listener: tuple[socket.socket, str]) -> None:
    server, address = listener
    notify = SystemdNotify({"NOTIFY_SOCKET": address})
    notify.ready()
    notify.watchdog()
    notify.stopping()
    got = [server.recv(200) for _ in range(3)]
    assert got == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    notify.reloading()
    first, second = server.recv(200).decode().split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_without_systemd_nothing_happens() -> None:
    notify = SystemdNotify({})
    notify.ready()
    assert notify.watchdog_s is None


def test_a_socket_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    SystemdNotify({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()


def test_an_odd_address_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("vsock:2:1")  # a file of this name would take the message
        server.setblocking(False)
        SystemdNotify({"NOTIFY_SOCKET": "vsock:2:1"}).ready()
        with pytest.raises(BlockingIOError):
            server.recv(200)


@pytest.mark.parametrize(
    ("env", "expected_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_interval_is_ours_only_when_it_names_us(
    env: dict[str, str], expected_s: float | None
) -> None:
    assert SystemdNotify(env).watchdog_s == expected_s
