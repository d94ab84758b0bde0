import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from edge_runtime.sources.frame_ring import FrameNote, FrameRing
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

NOTE = FrameNote(position=0, captured_at_s=1.0, captured_at_wall_s=2.0, decode_ms=3.0)


@pytest.fixture
def ring():
    ring = FrameRing.create(slots=3, max_frame_bytes=1 << 20)
    yield ring
    ring.close()


def fill(ring, slot, shape, value):
    size = math.prod(shape)
    ring.room(slot)[:size] = bytes([value]) * size


def write(ring, value, shape=(4, 6, 3), *, may_overwrite=True):
    ring.count_grab(time.monotonic())
    slot = ring.reserve(may_overwrite=may_overwrite)
    if slot is None:
        return False
    fill(ring, slot, shape, value)
    ring.commit(slot, shape, NOTE)
    return True


def test_frames_come_out_as_they_went_in(ring):
    write(ring, 7, (5, 8, 3))
    taken = ring.take()
    assert taken.pixels.shape == (5, 8, 3)
    assert (taken.pixels == 7).all()
    assert (taken.ticket, taken.note) == (0, NOTE)
    assert ring.take() is None


def test_the_oldest_unread_frame_is_overwritten_and_counted(ring):
    for value in range(10):
        write(ring, value)
    assert ring.counts().overwritten == 7
    assert [ring.take().ticket for _ in range(3)] == [7, 8, 9]
    assert ring.take() is None


def test_the_frame_in_the_readers_hands_is_never_overwritten(ring):
    write(ring, 1)
    held = ring.take()
    for value in range(2, 100):
        write(ring, value)
    assert (held.pixels == 1).all()
    assert ring.counts().overwritten == 96


def test_a_patient_writer_waits_when_full(ring):
    assert [write(ring, v, may_overwrite=False) for v in range(4)] == [True, True, True, False]
    ring.take()
    assert not write(ring, 9, may_overwrite=False)
    ring.take()  # gives the first one back
    assert write(ring, 9, may_overwrite=False)


def test_the_size_may_change_from_frame_to_frame(ring):
    shapes = [(4, 6, 3), (400, 600, 3), (2, 2), (10, 10, 4)]
    for value, shape in enumerate(shapes):
        write(ring, value, shape)
        taken = ring.take()
        assert taken.pixels.shape == shape
        assert (taken.pixels == value).all()


def test_a_slot_has_room_for_the_largest_frame_and_no_more(ring):
    assert len(ring.room(ring.reserve(may_overwrite=True))) == 1 << 20


def test_a_lying_writer_cannot_make_the_reader_read_elsewhere(ring):
    slot = ring.reserve(may_overwrite=True)
    ring.commit(slot, (100_000, 100_000, 3), NOTE)
    with pytest.raises(ValueError):
        ring.take()


def test_frames_outlive_the_closed_ring():
    ring = FrameRing.create(slots=3, max_frame_bytes=1 << 20)
    write(ring, 5)
    taken = ring.take()
    ring.close()
    del ring
    assert (taken.pixels == 5).all()


def test_memory_is_only_taken_for_bytes_written():
    ring = FrameRing.create(slots=3, max_frame_bytes=256 << 20)
    write(ring, 1, (480, 640, 3))
    assert os.fstat(ring.fd).st_blocks * 512 < 2 << 20
    ring.close()


@pytest.mark.parametrize("slots", [0, 2, 1000])
def test_an_impossible_number_of_slots_is_refused(slots):
    with pytest.raises(ValueError):
        FrameRing.create(slots, 1000)


WRITER = """
import sys, time
from edge_runtime.sources.frame_ring import FrameNote, FrameRing
ring = FrameRing(int(sys.argv[1]))
shape, value = (240, 320, 3), 0
while True:
    ring.count_grab(time.monotonic())
    slot = ring.reserve(may_overwrite=True)
    size = 240 * 320 * 3
    ring.room(slot)[:size] = bytes([value % 251]) * size
    ring.commit(slot, shape, FrameNote(value, 0.0, 0.0, 0.0))
    value += 1
"""

STUCK_WRITER = """
import os, signal, sys
from edge_runtime.sources.frame_ring import FrameRing
with FrameRing(int(sys.argv[1]))._lock():
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def start(script, ring):
    return subprocess.Popen(
        [sys.executable, "-c", script, str(ring.fd)],
        pass_fds=[ring.fd],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_no_torn_frame_while_another_process_writes_at_full_speed(ring):
    writer = start(WRITER, ring)
    try:
        deadline = time.monotonic() + WAIT_S
        tickets = []
        while len(tickets) < 500 and time.monotonic() < deadline:
            taken = ring.take()
            if taken is None:
                continue
            first = int(taken.pixels[0, 0, 0])
            assert (taken.pixels == first).all()
            assert first == taken.note.position % 251
            tickets.append(taken.ticket)
    finally:
        writer.kill()
        writer.communicate()
    while (taken := ring.take()) is not None:
        tickets.append(taken.ticket)
    assert tickets == sorted(set(tickets))
    assert len(tickets) >= 500
    counts = ring.counts()
    # The frame that was being written when it was killed may be counted as grabbed or not at all.
    assert 0 <= counts.grabbed - counts.overwritten - len(tickets) <= 1


def test_a_writer_stopped_inside_a_hand_over_does_not_block_the_reader_and_leaves_nothing_behind(ring):
    write(ring, 3)
    writer = start(STUCK_WRITER, ring)
    try:
        assert writer.stdout.readline() == b"locked\n"
        started = time.monotonic()
        assert ring.take() is None
        assert ring.was_busy
        assert time.monotonic() - started < WAIT_S / 2
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate()
    assert np.all(ring.take().pixels == 3)
    assert not ring.was_busy
