"""A small MQTT v5 broker that misbehaves as a test says: refuses, closes, forgets, is late, sends odd codes.

It runs in its own thread and listens on loopback. ``on_publish`` decides about every message at QoS 1.
"""

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field

OK = 0x00
CLOSE, SILENT = "close the connection", "no acknowledgement"


@dataclass(frozen=True)
class Disconnect:
    """Say why, and close the connection."""

    code: int


@dataclass
class Published:
    """A message as it arrived."""

    topic: str
    payload: bytes
    is_retained: bool


@dataclass
class FakeBroker:
    """``with FakeBroker(on_publish=...) as broker: ...``.

    Attributes:
        on_publish: Gives a reason code, ``CLOSE``, ``SILENT``, a ``Disconnect``, or a number of seconds before the
            acknowledgement as a float.
        on_subscribe: Gives a reason code or a ``Disconnect``; called with the filter.
        connack: Reason code of the answer to CONNECT, ``CLOSE`` or ``SILENT``; called with the packet.
        properties: Properties of that answer, encoded; a packet of MQTT 3.1.1 is answered without.
    """

    on_publish: object = lambda published: OK
    on_subscribe: object = lambda topic_filter: 1
    connack: object = lambda packet: OK
    properties: bytes = b""
    host: str = "127.0.0.1"
    port: int = 0
    seen: list = field(default_factory=list)
    connects: int = 0
    writers: set = field(default_factory=set)
    retain_flags_of_connects: list = field(default_factory=list)

    def payloads(self, topic):
        """Every time a message of this topic arrived, acknowledged or not."""
        return [one.payload for one in tuple(self.seen) if one.topic == topic]

    def counts(self):
        return Counter(one.topic for one in tuple(self.seen))

    def __enter__(self):
        self._loop, started = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def end_connections(self):
        """Close all of them, as a broker that restarts does."""
        self._loop.call_soon_threadsafe(lambda: [writer.close() for writer in self.writers])

    def send_raw(self, data):
        """To every client."""
        self._loop.call_soon_threadsafe(lambda: [writer.write(data) for writer in self.writers])

    def _run(self, started):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(started))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _serve(self, started):
        self._stopping = asyncio.Event()
        self._tasks = set()
        server = await asyncio.start_server(self._talk, self.host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopping.wait()
        server.close()
        for writer in tuple(self.writers):
            writer.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _talk(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self.writers.add(writer)
        try:
            while True:
                await self._answer(await _read_packet(reader), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.writers.discard(writer)
            self._tasks.discard(asyncio.current_task())
            writer.close()

    async def _answer(self, packet, writer):
        header, body = packet
        match header >> 4:
            case 1:
                self.connects += 1
                code = self.connack(body)
                if code == SILENT:
                    return
                if code == CLOSE:
                    raise ConnectionError
                of_version_5 = bytes([len(self.properties)]) + self.properties
                writer.write(_packet(0x20, bytes([0, code]) + (of_version_5 if body[6] == 5 else b"")))
                if code != OK:
                    raise ConnectionError
            case 3:
                published, mid = _parse_publish(header, body)
                self.seen.append(published)
                await self._settle(self.on_publish(published), mid, writer)
            case 8:
                decision = self.on_subscribe(_parse_subscribe(body))
                self._leave_if_told(decision, writer)
                writer.write(_packet(0x90, body[:2] + bytes([0, decision])))
            case 10:
                writer.write(_packet(0xB0, body[:2] + b"\0\0"))
            case 12:
                writer.write(b"\xd0\0")
            case 14:
                raise ConnectionError

    def _leave_if_told(self, decision, writer):
        if isinstance(decision, Disconnect):
            writer.write(_packet(0xE0, bytes([decision.code, 0])))
            raise ConnectionError

    async def _settle(self, decision, mid, writer):
        self._leave_if_told(decision, writer)
        if decision == CLOSE:
            raise ConnectionError
        if decision == SILENT:
            return
        if isinstance(decision, float):
            self._loop.call_later(decision, writer.write, _packet(0x40, mid + b"\0\0"))
            return
        writer.write(_packet(0x40, mid + bytes([decision, 0])))


def _packet(header, body):
    assert len(body) < 128
    return bytes([header, len(body)]) + body


async def _read_packet(reader):
    header = (await reader.readexactly(1))[0]
    size, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return header, await reader.readexactly(size)


def _parse_publish(header, body):
    size = int.from_bytes(body[:2])
    topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
    mid, rest = rest[:2], rest[2:]
    return Published(topic, rest[1 + rest[0] :], bool(header & 1)), mid


def _parse_subscribe(body):
    rest = body[3 + body[2] :]
    return rest[2 : 2 + int.from_bytes(rest[:2])].decode()
