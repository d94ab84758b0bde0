import random
import threading
import time
from io import BytesIO

import numpy as np
import pytest

from edge_runtime.datatypes import Origin
from edge_runtime.sources.base import EndOfStream
from edge_runtime.sources.mqtt_images import MqttImagesSource


def npy(array, **options):
    file = BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def source_of(*payloads, capacity=8, **options):
    options |= {"clock": lambda: 50.0, "wall_clock": lambda: 1000.0}
    source = MqttImagesSource("hall", capacity=capacity, **options)
    for number, payload in enumerate(payloads):
        source.offer(payload, received_at_s=10.0 + number)
    return source


def test_pictures_pass_as_they_came():
    source = source_of(b"jpeg one", b"")
    one, two = source.read(0), source.read(0)
    assert (one.payload, one.seq, one.captured_at_s, one.captured_at_wall_s) == (b"jpeg one", 0, 10.0, 960.0)
    assert (two.payload, two.seq) == (b"", 1)  # preprocessing rejects and counts it
    assert source.read(0) is None


def test_the_oldest_is_dropped_when_full():
    source = source_of(*[bytes([n]) for n in range(5)], capacity=2)
    assert [source.read(0).payload for _ in range(2)] == [b"\x03", b"\x04"]
    counts = source.stats()
    assert (counts.captured, counts.delivered, counts.dropped) == (5, 2, 3)


def test_large_messages_are_refused_and_counted():
    source = source_of(b"x" * 101, b"y" * 100, max_payload_bytes=100)
    assert source.read(0).payload == b"y" * 100
    assert source.stats().dropped == 1
    assert "101 bytes" in source.stats().last_problem


def test_arrays_pass_as_they_came_and_declare_no_channel_order():
    payload = npy(np.zeros((4, 5, 3), np.uint8))
    frame = source_of(payload).read(0)
    assert (frame.payload, frame.colour, frame.is_tensor) == (payload, None, False)


def test_read_waits_for_a_message_from_another_thread():
    source = MqttImagesSource("hall")
    sender = threading.Timer(0.05, source.offer, (b"late", time.monotonic()))
    sender.start()
    assert source.read(10).payload == b"late"
    sender.join()


def test_close_wakes_the_reader_and_accounts_for_what_is_left():
    source = source_of(b"1", b"2")
    source.read(0)
    source.close()
    source.close()
    with pytest.raises(EndOfStream):
        source.read(60)
    counts = source.stats()
    assert counts.captured == counts.delivered + counts.dropped == 2


def test_fps_holds_and_the_newest_wins():
    now_s = [100.0]
    source = MqttImagesSource("hall", fps=2, clock=lambda: now_s[0])
    given = []
    for tick in range(100):  # 10 s of 10 messages a second
        now_s[0] = 100.0 + tick / 10
        source.offer(str(tick).encode(), received_at_s=now_s[0])
        frame = source.read(0)
        if frame is not None:
            given.append(int(frame.payload))
    assert given == list(range(0, 100, 5))
    counts = source.stats()
    assert (counts.captured, counts.delivered, counts.dropped) == (100, 20, 79)  # and one waits


def test_fps_loses_nothing_of_a_sender_that_keeps_to_it():
    now_s = [100.0]
    source = MqttImagesSource("hall", fps=10, clock=lambda: now_s[0])
    rng = random.Random(3)
    for tick in range(200):
        now_s[0] = 100.0 + tick / 10 + rng.uniform(0, 0.04)
        source.read(0)
        source.offer(b"x", received_at_s=now_s[0])
        source.read(0)
        now_s[0] = 100.0 + tick / 10 + 0.09
        source.read(0)
    assert source.stats().dropped == 0


def test_a_waiting_read_gives_the_picture_when_it_is_due():
    source = MqttImagesSource("hall", fps=50)
    for payload in (b"1", b"2", b"3"):
        source.offer(payload, received_at_s=time.monotonic())
        if payload == b"1":
            source.read(0)
    assert source.read(60).payload == b"3"


def test_the_origin_of_a_message_goes_with_its_frame():
    source = source_of()
    for number in range(3):
        source.offer(b"jpeg", 10.0, Origin(correlation=bytes([number])))
    assert [source.read(0).origin.correlation for _ in range(3)] == [b"\x00", b"\x01", b"\x02"]
