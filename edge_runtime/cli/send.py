"""Sends one command to a running device and waits for its answer: the caller's end of the command protocol."""

import queue
import secrets
from dataclasses import replace
from typing import Any

import orjson

from edge_runtime.config import Address
from edge_runtime.errors import BrokerLost, CommandError, NoAnswer
from edge_runtime.messaging.mqtt.session import Message, MqttSession
from edge_runtime.messaging.mqtt.settings import make_mqtt_settings

REQUEST_EXPIRY_S = 60


def send_command(to: Address, verb: str, arguments: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """The device's answer.

    Raises:
        CommandError: the configuration has no broker.
        NoAnswer: the device did not answer in time.
        BrokerLost: the broker cannot be reached or refuses the connection.
    """
    if to.mqtt is None:
        raise CommandError("the configuration has no section 'mqtt'; commands travel over the broker")
    transaction = secrets.token_hex(8)
    settings = make_mqtt_settings(to.device, to.mqtt)
    settings = replace(settings, client_id=f"edge-runtime-send-{transaction}")
    broker = f"{settings.host}:{settings.port}"
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def take(message: Message) -> None:
        try:
            answer = orjson.loads(message.payload)
        except ValueError:
            return
        if isinstance(answer, dict) and answer.get("transaction") == transaction:
            answers.put(answer)

    session = MqttSession(settings, settings.max_inflight, take, lambda: None)
    try:
        session.open()
        session.subscribe(settings.topics.response(verb))
        if not session.wait_subscribed(timeout_s) or session.problem is not None:
            raise BrokerLost(f"broker {broker}: {session.problem or 'subscription not answered in time'}")
        request = orjson.dumps({**arguments, "transaction": transaction})
        session.send(settings.topics.request(verb), request, expiry_s=REQUEST_EXPIRY_S)
        return answers.get(timeout=timeout_s)
    except queue.Empty:
        raise NoAnswer(
            f"{to.device} did not answer {verb!r} within {timeout_s:g} s; is the daemon connected to {broker}? If "
            "'device' or 'mqtt' of the file was edited while it ran, it may still have the name or the broker it was "
            "started with"
        ) from None
    finally:
        session.close(1.0)
