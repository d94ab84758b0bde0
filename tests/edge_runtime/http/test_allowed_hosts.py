"""Names by which a request may address a server on loopback."""

import pytest

from edge_runtime.http.allowed_hosts import is_loopback_host


@pytest.mark.parametrize(
    "host",
    [
        b"localhost", b"LOCALHOST", b"LocalHost:8080", b"127.0.0.1", b"127.0.0.1:8080", b"127.0.0.2:1",
        b"127.255.255.254", b"[::1]", b"[::1]:8080", b"[0:0:0:0:0:0:0:1]:80", b"[::ffff:127.0.0.1]:80",
        b"[::FFFF:7f00:1]",
    ],
)  # fmt: skip
def test_this_machine(host: bytes) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host",
    [
        b"", b"evil.example", b"evil.example:80", b"localhost.evil.example", b"evil.localhost",
        b"127.0.0.1.evil.example", b"128.0.0.1", b"0.0.0.0", b"10.0.0.1", b"::1", b"[::2]", b"[::]",
        b"[::ffff:10.0.0.1]", b"[127.0.0.1]", b"127.1", b"2130706433", b"localhost@evil", b"localhost/x",
        b"localhost:", b"localhost:x", b"localhost, evil", b"[::1", b"[::1%25lo]", b"127.0.0.01", b"\xff",
        b"localhost\t", b" localhost", b"localhost.",
    ],
)  # fmt: skip
def test_any_other(host: bytes) -> None:
    assert not is_loopback_host(host)
