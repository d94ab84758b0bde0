"""What a connection gives is counted against the time that was spent on waiting for it."""

import io
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
import requests

from edge_runtime.bundles.travel.bounded_http import (
    MAX_UNASKED_BYTES,
    PIECE_BYTES,
    PacedReader,
    PlainHttp,
    make_bounded_adapter,
    send_paced,
)
from edge_runtime.bundles.travel.http_errors import as_registry_errors
from edge_runtime.bundles.travel.registry import GRACE_S, LEAST_BYTES_PER_S
from edge_runtime.errors import RegistryLost, RegistryRefused


class Line(io.RawIOBase):
    """Gives ``size`` bytes after ``gap_s`` each time; ``now_s`` is its clock."""

    def __init__(self, size, gap_s):
        super().__init__()
        self.size, self.gap_s, self.now_s, self.given = size, gap_s, 0.0, 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.now_s += self.gap_s
        count = min(self.size, len(buffer))
        buffer[:count] = bytes(count)
        self.given += count
        return count


def test_a_byte_a_second_ends_after_the_timeout():
    line = Line(1, 1.0)
    with pytest.raises(TimeoutError):
        PacedReader(line, lambda: line.now_s).readall()
    assert line.now_s == GRACE_S + 1


def test_a_slow_modem_is_waited_for():
    line = Line(LEAST_BYTES_PER_S + 1, 1.0)
    reader = io.BufferedReader(PacedReader(line, lambda: line.now_s))
    assert len(reader.read(1_000_000)) == 1_000_000


def test_time_that_is_spent_elsewhere_does_not_count():
    line = Line(100, 0.001)
    reader = PacedReader(line, lambda: line.now_s)
    for _ in range(100):
        line.now_s += 1000  # a slow disk
        assert reader.readinto(bytearray(100)) == 100


def test_what_is_read_is_closed_with_the_reader():
    line = Line(1, 0.0)
    PacedReader(line).close()
    assert line.closed


class Uplink:
    """Takes a piece in ``gap_s``; ``now_s`` is its clock."""

    def __init__(self, gap_s):
        self.gap_s, self.now_s, self.taken = gap_s, 0.0, bytearray()

    def send(self, piece):
        self.now_s += self.gap_s
        self.taken += piece


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 1])
def test_all_that_is_sent_goes_in_pieces_at_a_modem_s_pace(size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    uplink = Uplink(PIECE_BYTES / LEAST_BYTES_PER_S)
    send_paced(uplink.send, data, lambda: uplink.now_s)
    assert uplink.taken == data
    assert uplink.now_s == uplink.gap_s * -(-size // PIECE_BYTES)


def test_a_registry_that_takes_too_little_each_time_ends_after_the_grace():
    uplink = Uplink(2 * PIECE_BYTES / LEAST_BYTES_PER_S)
    with pytest.raises(TimeoutError):
        send_paced(uplink.send, bytes(100 * PIECE_BYTES), lambda: uplink.now_s)
    assert uplink.now_s <= 2 * GRACE_S + uplink.gap_s


MOST_SENT = 64 * MAX_UNASKED_BYTES
"""By a server that does not end, so that a client without a bound fails and does not hang."""
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Endless:
    """Answers one request with ``head``, and then ``again`` and again."""

    def __init__(self, head, again):
        self.head, self.piece, self.sent = head, again * (1 + PIECE_BYTES // len(again)), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._answer)

    def _answer(self):
        with suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.recv(PIECE_BYTES)
                connection.sendall(self.head)
                while self.sent < MOST_SENT:
                    self.sent += connection.send(self.piece)

    @contextmanager
    def ask(self):
        """The answer; ``requests`` has read no content of it yet."""
        self._thread.start()
        try:
            with requests.Session() as session:
                session.mount("http://", make_bounded_adapter(is_allowed=True))
                host, port = self._listener.getsockname()
                with session.get(f"http://{host}:{port}/", stream=True) as answer:
                    yield answer
        finally:
            self._listener.close()
            self._thread.join()


def read_by_parts(answer):
    while answer.raw.read(PIECE_BYTES, decode_content=False):
        pass


def read_whole(answer):
    assert answer.content


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"X-Name: words\r\n"),
        (CHUNKED, b"1;" + b"a" * 50_000 + b"\r\nx\r\n"),
        (CHUNKED + b"1;", b"a"),
    ],
    ids=["interim", "trailer", "extensions", "one-line"],
)
@pytest.mark.parametrize("read", [read_by_parts, read_whole])
def test_lines_around_the_content_end(head, again, read):
    server = Endless(head, again)
    with pytest.raises((RegistryLost, RegistryRefused)), as_registry_errors("it"), server.ask() as answer:
        read(answer)
    assert server.sent < MOST_SENT // 2


def test_a_long_content_in_small_chunks_is_no_error():
    size, count = 100, 3 * MAX_UNASKED_BYTES // 100
    chunk = b"%x\r\n%b\r\n" % (size, bytes(size))
    with Endless(CHUNKED + chunk * count + b"0\r\n\r\n", b"HTTP").ask() as answer:
        assert len(answer.raw.read(size * count, decode_content=False)) == size * count


def test_what_an_option_would_allow_is_named_with_the_command_that_has_it():
    """The verb ``install`` comes here too, and has no options."""
    with pytest.raises(RegistryRefused) as caught, as_registry_errors("oci://x/y:1"):
        raise PlainHttp
    assert "--plain-http to 'edge-runtime bundle'" in str(caught.value)
