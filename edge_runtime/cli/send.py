"""Sends one command to a running device and waits for its answer: the other end of ``command_link``, for the CLI.

A plain MQTT v5 caller of its own: unlike the daemon's client it announces nothing and has no last will.
"""

import secrets
import threading
from typing import Any

import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_runtime.config import Address
from edge_runtime.daemon.wiring.messaging import make_mqtt_settings
from edge_runtime.errors import BrokerLost, CommandError, NoAnswer
from edge_runtime.messaging.mqtt.session import explained


def send_command(to: Address, verb: str, arguments: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """The device's answer.

    Raises:
        CommandError: the configuration has no broker.
        NoAnswer: nobody answered in time.
        BrokerLost: the broker cannot be reached or refuses us.
    """
    if to.mqtt is None:
        raise CommandError("the configuration has no section 'mqtt'; commands travel over the broker")
    settings = make_mqtt_settings(to.device, to.mqtt)
    transaction = secrets.token_hex(8)
    request = orjson.dumps({**arguments, "transaction": transaction})
    caller = _Caller(settings.topics.response(verb), settings.topics.request(verb), request, transaction)
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=f"edge-runtime-send-{transaction}", protocol=paho.MQTTv5
    )
    client.on_connect, client.on_subscribe, client.on_message = (
        caller.connected,
        caller.subscribed,
        caller.arrived,
    )
    if settings.user is not None:
        client.username_pw_set(settings.user, settings.password)
    context = settings.tls_context()
    if context is not None:
        client.tls_set_context(context)
    try:
        client.connect(settings.host, settings.port, keepalive=settings.keepalive_s)
    except OSError as err:
        raise BrokerLost(f"broker {settings.host}:{settings.port}: {explained(err)}") from err
    client.loop_start()
    try:
        is_done = caller.done.wait(timeout_s)
    finally:
        client.disconnect()
        client.loop_stop()
    if caller.refusal is not None:
        raise BrokerLost(
            f"broker {settings.host}:{settings.port} refuses: {caller.refusal}; "
            "check mqtt.user, mqtt.password and the broker's rules"
        )
    if not is_done or caller.answer is None:
        raise NoAnswer(
            f"{to.device} did not answer {verb!r} within {timeout_s:g} s; is the daemon connected to "
            f"{settings.host}:{settings.port}? If 'device' or 'mqtt' of the file was edited while it ran, it may still "
            "have the name or the broker it was started with"
        )
    return caller.answer


class _Caller:
    """Subscribes, then asks, then waits for the answer with its own transaction."""

    def __init__(self, response_topic: str, request_topic: str, request: bytes, transaction: str) -> None:
        self._response_topic, self._request_topic = response_topic, request_topic
        self._request, self._transaction = request, transaction
        self.answer: dict[str, Any] | None = None
        self.refusal: str | None = None
        self.done = threading.Event()

    def connected(self, client: paho.Client, _: object, __: object, reason: ReasonCode, ___: object) -> None:
        if reason.is_failure:
            self.refusal = str(reason)
            self.done.set()
        else:
            client.subscribe(self._response_topic, qos=1)

    def subscribed(self, client: paho.Client, *_: object) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = 60
        client.publish(self._request_topic, self._request, qos=1, properties=properties)

    def arrived(self, _: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        try:
            answer = orjson.loads(message.payload)
        except ValueError:
            return
        if isinstance(answer, dict) and answer.get("transaction") == self._transaction:
            self.answer = answer
            self.done.set()
