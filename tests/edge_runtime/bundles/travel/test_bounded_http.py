"""What a connection gives is counted against the time that was spent on waiting for it."""

import io

import pytest

from edge_runtime.bundles.travel.bounded_http import PIECE_BYTES, PacedReader, send_paced
from edge_runtime.bundles.travel.registry import GRACE_S, LEAST_BYTES_PER_S


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
