"""Whether a broker that does not answer MQTT v5 speaks the version before.

The standard wants a refusal with a reason, but brokers of version 3.1.1 also close the connection (RabbitMQ 3.10) or
say nothing (amqtt 0.12) when a client asks for version 5. Asking once more, in their version, tells this from a wrong
port.
"""

import secrets
import threading

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_runtime.messaging.mqtt.settings import MqttSettings


def answers_version_3(settings: MqttSettings) -> bool:
    """Ask for a connection in MQTT 3.1.1, without user and password; a refusal for their sake is an answer as well.

    Takes at most two connect timeouts.

    Raises:
        ConfigError: a TLS file cannot be used.
    """
    is_answered, is_over = threading.Event(), threading.Event()
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"edge-probe-{secrets.token_hex(4)}",
        protocol=MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = settings.connect_timeout_s
    if (context := settings.tls_context()) is not None:
        client.tls_set_context(context)

    def answer(*_: object) -> None:
        is_answered.set()
        is_over.set()

    client.on_connect = answer
    client.on_disconnect = lambda *_: is_over.set()
    try:
        client.connect(settings.host, settings.port)
    except (OSError, ValueError):
        return False
    client.loop_start()
    is_over.wait(settings.connect_timeout_s)
    client.disconnect()
    client.loop_stop()
    return is_answered.is_set()
