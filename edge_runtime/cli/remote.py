"""The caller's end of remote commands: a request over the broker, and the answer of one device or of a group."""

import queue
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from edge_runtime.cli.upload import ChunkedFile
from edge_runtime.errors import BrokerLost, CommandError, NoAnswer

if TYPE_CHECKING:
    from edge_runtime.config import Address
    from edge_runtime.messaging.mqtt.session import MqttSession
    from edge_runtime.messaging.mqtt.topics import Topics

REQUEST_EXPIRY_S = 60.0
"""A request that was recorded is refused from then on; the clocks of both machines may differ by this much."""
MOST_KEPT_S = 86_400.0
"""Longest time that the broker keeps a request for a device that is away."""
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Link:
    """A connection that waits for the answers to one request."""

    session: "MqttSession"
    topics: "Topics"
    broker: str
    answers: "queue.SimpleQueue[tuple[str, Answer]]"
    """With the topic of each, progress as well."""


def send_command(
    to: "Address",
    verb: str,
    arguments: dict[str, Any],
    timeout_s: float,
    *,
    expires_s: float = REQUEST_EXPIRY_S,
    key: Path | None = None,
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
    upload: ChunkedFile | None = None,
) -> dict[str, Any]:
    """The device's answer; with ``key``, a file, the command is signed.

    ``timeout_s`` is how long the device may say nothing: progress, given to ``on_progress``, is a sign of life. The
    chunks of ``upload`` are sent as the device asks for them.

    Raises:
        KeyUnusable, ExtraMissing: the key cannot be used.
        CommandError: the configuration has no broker, or the broker takes no messages as long as a chunk.
        NoAnswer: the device did not answer in time.
        BrokerLost: the broker cannot be reached or refuses the connection.
    """
    from edge_runtime.messaging.mqtt.problems import explain_silence

    transaction = secrets.token_hex(8)
    request = _write_request(to.device, verb, arguments, transaction, time.time() + expires_s, key)
    with _listen(to, to.device, verb, transaction, timeout_s) as link:
        session, topics = link.session, link.topics
        packet = session.send(topics.request(verb), request, expiry_s=_kept_s(expires_s))
        try:
            while (answer := link.answers.get(timeout=timeout_s)[1]).get("status") == "progress":
                told = answer.get("data") or {}
                on_progress(told)
                if upload is not None and told.get("missing"):
                    _send_chunks(session, topics, upload, told)
        except queue.Empty:
            code = next((code for acked, code in session.take_acks() if acked == packet), None)
            why = explain_silence(code, topics.request(verb), topics.response(verb))
            raise NoAnswer(
                f"{to.device} did not answer {verb!r} over {link.broker} within {timeout_s:g} s: {why}"
            ) from None
        return answer


def send_to_group(
    to: "Address",
    group: str,
    verb: str,
    arguments: dict[str, Any],
    timeout_s: float,
    *,
    expires_s: float = REQUEST_EXPIRY_S,
    key: Path | None = None,
    on_progress: Callable[[Answer], None] = lambda _: None,
) -> dict[str, Answer]:
    """What each device of a group answers, by its name; which devices there are, nobody knows here.

    ``timeout_s`` is how long all of them may say nothing; then those that have not answered are waited for no more.

    Raises:
        KeyUnusable, ExtraMissing, CommandError, BrokerLost: as for :func:`send_command`.
        NoAnswer: no device answered in time.
    """
    transaction, found = secrets.token_hex(8), dict[str, Answer]()
    request = _write_request(group, verb, arguments, transaction, time.time() + expires_s, key)
    with _listen(to, "+", verb, transaction, timeout_s) as link:
        link.session.send(link.topics.group_request(group, verb), request, expiry_s=_kept_s(expires_s))
        while True:
            try:
                topic, answer = link.answers.get(timeout=timeout_s)
            except queue.Empty:
                break
            device = topic.removeprefix(f"{link.topics.prefix}/").partition("/")[0]
            if answer.get("status") == "progress":
                told = answer.get("data") or {}
                on_progress({**told, "phase": f"{device}: {told.get('phase', 'waiting')}"})
            else:
                found[device] = answer
    if not found:
        raise NoAnswer(
            f"no device answered {verb!r} to the group {group!r} over {link.broker} within {timeout_s:g} s; expected "
            "devices with that name in commands.groups, and a user of the broker who may read the answers of all"
        )
    return found


@contextmanager
def _listen(to: "Address", device: str, verb: str, transaction: str, timeout_s: float) -> Iterator[_Link]:
    """Connect, and subscribe to the answers of a device; ``+`` stands for each of them.

    Raises:
        CommandError: the configuration has no broker.
        BrokerLost: the broker cannot be reached or refuses the connection.
    """
    from edge_runtime.messaging.mqtt.message import Message
    from edge_runtime.messaging.mqtt.session import MqttSession
    from edge_runtime.messaging.mqtt.settings import make_mqtt_settings
    from edge_runtime.messaging.mqtt.topics import progress_topic
    from edge_runtime.system.supervised_thread import Crashes

    if to.mqtt is None:
        raise CommandError(
            "the configuration has no section 'mqtt'; commands travel over the broker. On the box itself "
            "/status of its status page (section 'http') shows what 'status' answers"
        )
    settings = make_mqtt_settings(to.device, to.mqtt)
    settings = replace(settings, client_id=f"edge-runtime-send-{transaction}")
    broker = f"{settings.host}:{settings.port}"
    answers: queue.SimpleQueue[tuple[str, Answer]] = queue.SimpleQueue()

    def take(message: Message) -> None:
        try:
            answer = orjson.loads(message.payload)
        except ValueError:
            return
        if isinstance(answer, dict) and answer.get("transaction") == transaction:
            answers.put((message.topic, answer))

    topic = f"{settings.topics.prefix}/{device}/response/{verb}"
    session = MqttSession(settings, settings.max_inflight, take, lambda: None, Crashes())
    try:
        session.open()
        session.subscribe(topic)
        session.subscribe(progress_topic(topic))
        if not session.wait_subscribed(timeout_s) or session.problem is not None:
            raise BrokerLost(f"broker {broker}: {session.problem or 'subscription not answered in time'}")
        yield _Link(session, settings.topics, broker, answers)
    finally:
        session.close(1.0)


def _kept_s(expires_s: float) -> int:
    return max(1, round(min(expires_s, MOST_KEPT_S)))


def _write_request(
    device: str,
    verb: str,
    arguments: dict[str, Any],
    transaction: str,
    expires_wall_s: float,
    key: Path | None,
) -> bytes:
    """The bytes of a command: signed with ``key``, a plain JSON object without.

    Raises:
        KeyUnusable, ExtraMissing: the key cannot be used.
    """
    from edge_runtime.messaging.commands.command_keys import load_signing_key, sign
    from edge_runtime.system.rfc3339 import format_rfc3339

    if key is None:
        own = {"transaction": transaction, "device": device, "expires_at": format_rfc3339(expires_wall_s)}
        return orjson.dumps({**arguments, **own})
    claims = {"aud": device, "exp": round(expires_wall_s), "jti": transaction, "verb": verb}
    return sign(orjson.dumps({**claims, "arguments": arguments}), load_signing_key(key))


def _send_chunks(session: "MqttSession", topics: "Topics", upload: ChunkedFile, told: dict[str, Any]) -> None:
    for at in upload.choose(told["missing"], told["missing_chunks"]):
        topic, data = topics.upload(upload.names[at]), upload.read(at)
        if not session.fits(topic, data):
            raise CommandError(
                f"the broker takes messages of {session.max_packet_bytes} bytes at most; use a smaller --chunk-kib"
            )
        session.send(topic, data)
