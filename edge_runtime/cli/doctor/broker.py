"""The broker: can it be reached, does it trust, and is it trusted; under another name than the daemon's.

A second client with the id of the daemon would end its connection.
"""

import secrets
import ssl
from collections.abc import Iterator
from dataclasses import replace

from edge_runtime.cli.doctor.finding import Finding, fine, problem
from edge_runtime.config import MqttConfig
from edge_runtime.errors import BrokerLost, ConfigError, ExitCode
from edge_runtime.messaging.mqtt.problems import explain_denial
from edge_runtime.messaging.mqtt.session import MqttSession
from edge_runtime.messaging.mqtt.settings import MqttSettings, make_mqtt_settings
from edge_runtime.system.supervised_thread import Crashes

_BAD_LOGIN = frozenset({0x85, 0x86, 0x87, 0x8C})
"""The client id, user or password is wrong, not authorized, or another way to log in; MQTT v5 section 3.2.2.2."""
_ANSWER_S = 3.0
_ACL = "give the user of this box the right to its topics (docs/operations.md, 'A broker for boxes')"


def examine_broker(device: str, mqtt: MqttConfig) -> Iterator[Finding]:
    """Connect, subscribe and send one empty object to a topic of this box that is no command."""
    settings = replace(
        make_mqtt_settings(device, mqtt),
        client_id=f"edge-runtime-doctor-{secrets.token_hex(8)}",
        connect_timeout_s=_ANSWER_S,
    )
    session = MqttSession(settings, settings.max_inflight, lambda _: None, lambda: None, Crashes())
    try:
        session.open()
        yield fine("broker", f"{settings.host}:{settings.port} accepts this box")
        yield from _try_rights(session, settings, listens=mqtt.commands)
    except BrokerLost as err:
        yield _judge_loss(err, session.refusal)
    except ConfigError as err:
        found = "; ".join(map(str, err.problems))
        yield problem("broker.files", found, "repair the files of mqtt.tls", err.exit_code)
    finally:
        session.close(1.0)


def _judge_loss(err: BrokerLost, refusal: int | None) -> Finding:
    found, code = err.reason_text, err.exit_code
    match err.__cause__:
        case ssl.SSLCertVerificationError():
            advice = (
                "renew the certificate at the broker, or correct mqtt.tls.ca, mqtt.host or this box's clock"
            )
            return problem("broker.certificate", found, advice, code)
        case ssl.SSLError():
            return problem("broker.tls", found, "correct mqtt.port or the section mqtt.tls", code)
    if refusal in _BAD_LOGIN:
        advice = (
            "set the password again at the broker and in EDGE_... or password_file, then restart the service"
        )
        return problem("broker.password", found, advice, code)
    if refusal is not None:
        return problem("broker.refused", found, "change the broker's settings as said", code)
    return problem("broker.unreachable", found, "start the broker, or correct mqtt.host and mqtt.port", code)


def _try_rights(session: MqttSession, settings: MqttSettings, *, listens: bool) -> Iterator[Finding]:
    topics = settings.topics
    if listens:
        session.subscribe(topics.requests)
        if session.wait_subscribed(_ANSWER_S) and topics.requests in session.refused_filters:
            yield problem(
                "broker.rights",
                session.problem or f"the broker lets this box not hear {topics.requests}",
                _ACL,
                ExitCode.UNAVAILABLE,
            )
    own = topics.response("doctor")
    session.send(own, b"{}", expiry_s=1)
    session.wait_acknowledged(_ANSWER_S)
    for _, code in session.take_acks():
        if code >= 0x80:
            yield problem(
                "broker.rights",
                f"the broker takes no {own}: {explain_denial(code)}",
                _ACL,
                ExitCode.UNAVAILABLE,
            )
