"""Why there is no connection to the broker, in words that name what to do. Pure."""

import socket
import ssl

NO_SUBSCRIBERS, FIRST_FAILURE = 0x10, 0x80
VERSION_NOT_SUPPORTED, PACKET_TOO_LARGE = 0x84, 0x95
RETAIN_NOT_SUPPORTED, QOS_NOT_SUPPORTED, WILDCARDS_NOT_SUPPORTED = 0x9A, 0x9B, 0xA2
_RIGHTS = "check mqtt.user, mqtt.password and the broker's rules for this device"
_LATER = "it is tried again; look at the broker's load and limits"
_REMEDIES = {
    0x81: "is this port for MQTT?",
    0x82: "is this port for MQTT v5?",
    VERSION_NOT_SUPPORTED: (
        "MQTT v5 is needed: update the broker, turn MQTT v5 on, or use another one (mosquitto speaks it from 1.6 on, "
        "RabbitMQ from 3.13 on)"
    ),
    0x85: "the broker's rules do not allow the client id {client_id}; allow it, or change device or mqtt.prefix",
    0x86: _RIGHTS,
    0x87: _RIGHTS,
    0x88: _LATER,
    0x89: _LATER,
    0x8A: "the broker has banned this device; lift the ban there",
    0x8C: "the broker wants another way to log in than user and password",
    0x90: "the broker's rules do not allow the topic {client_id}/availability of the last will",
    PACKET_TOO_LARGE: "the broker's limit for packets is too small for the last will; raise it",
    0x97: "a quota of the broker is used up; raise it there",
    RETAIN_NOT_SUPPORTED: "turn retained messages on at the broker (mosquitto: retain_available true)",
    QOS_NOT_SUPPORTED: "results need QoS 1: raise the highest QoS at the broker (mosquitto: max_qos 1)",
    0x9C: "the broker sends its clients to another one; change mqtt.host",
    0x9D: "the broker has moved; change mqtt.host",
    0x9F: _LATER,
}
TOO_LARGE = "larger than the broker takes"
_DENIALS = {
    0x80: "the broker refuses it without a reason",
    0x83: "the broker refuses it for another reason",
    0x87: "not authorized by the broker's access rules",
    0x90: "topic name invalid for the broker, or forbidden by its access rules",  # ejabberd 23.01 means the latter
    0x91: "packet identifier in use",
    PACKET_TOO_LARGE: TOO_LARGE,
    0x97: "quota of the broker exceeded",
    0x99: "payload format invalid",
    RETAIN_NOT_SUPPORTED: "the broker does not support retained messages",
    QOS_NOT_SUPPORTED: "the broker does not support QoS 1",
}
_SUBSCRIPTION_DENIALS = {
    0x80: "it gives no reason; check its access rules",
    0x87: "not authorized; check its access rules",
    0x8F: "filter invalid there, or forbidden; check its access rules",  # ejabberd 23.01 means the latter
    0x97: "a quota of the broker is used up; raise it there",
    WILDCARDS_NOT_SUPPORTED: "it allows no filters with + or #; turn them on at the broker",
}
_NOT_OVER_A_MESSAGE = frozenset({0x00, 0x89, 0x8B, 0x8D, 0x8E, 0x98, 0x9C, 0x9D, 0xA0})
"""The broker is busy or shuts down, nothing came in time, another client has the id, an administrator, another server,
or the time is over; MQTT v5 section 3.14.2.1."""
_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


def explain_refusal(code: int, name: str, client_id: str) -> str:
    """The reason code of a refused CONNECT; ``name`` is the library's word for it."""
    remedy = _REMEDIES.get(code, "look at the broker's log")
    return f"refused the connection: {name}; {remedy.format(client_id=client_id)}"


def explain_denial(code: int) -> str:
    """The reason code of a refused message; the same words each time."""
    return _DENIALS.get(code, f"refused with reason code {code:#04x}")


def explain_subscription(topic_filter: str, code: int) -> str:
    """The reason code of a refused subscription: nothing of this filter comes in."""
    why = _SUBSCRIPTION_DENIALS.get(code, f"reason code {code:#04x}; look at the broker's log")
    return f"the broker refuses the subscription to {topic_filter}: {why}"


def explain_silence(code: int | None, request: str, response: str) -> str:
    """Why a request was not answered, as far as its acknowledgement tells.

    Args:
        code: The reason code of the acknowledgement; None when none came.
        request: The topic of the request.
        response: The topic of its answer.
    """
    if code is None:
        return "the broker has not acknowledged it"
    if code >= FIRST_FAILURE:
        return f"{explain_denial(code)}; may this user publish to {request}?"
    if code == NO_SUBSCRIBERS:
        return (
            f"nobody listens to {request}: is its daemon connected, and its mqtt.commands on? If 'device' or 'mqtt' of "
            "the file was edited while it ran, it may still have the name or the broker it was started with"
        )
    return f"is it running and not busy, and may this user read {response}?"


def may_be_over_a_message(code: int) -> bool:
    """Whether a broker that disconnects with this reason code may do so because of a message it was sent."""
    return code not in _NOT_OVER_A_MESSAGE


def explain_takeover(client_id: str) -> str:
    """Another client has connected with the same id."""
    return f"another client uses this client id ({client_id}): give each device another name (key device)"


def suspect_takeover(client_id: str) -> str:
    """The broker has closed young connections several times without a reason, and no message was unanswered."""
    return (
        f"the broker ends the connection again and again; does another client use the client id {client_id}?"
        " Give each device another name (key device)"
    )


def explain_error(err: Exception, *, is_tls: bool, now_text: str) -> str:
    """A connection error; ``now_text`` is the day on this device."""
    match err:
        case ssl.SSLCertVerificationError(verify_code=code) if code == _NOT_YET_VALID:
            return f"its certificate is not valid yet; check this device's clock: it says {now_text}"
        case ssl.SSLCertVerificationError(verify_code=code) if code == _EXPIRED:
            clock = f"this device's clock says {now_text}"
            return f"its certificate is not trusted: it has expired; renew it at the broker ({clock})"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {err.verify_message}; check mqtt.tls.ca and mqtt.host"
        case ssl.SSLError():
            hint = "does the broker speak TLS on this port?"
            return f"TLS failed: {getattr(err, 'reason', None) or err}; check mqtt.port and the mqtt.tls files; {hint}"
        case socket.gaierror():
            return f"the name cannot be resolved: {err.strerror}; check mqtt.host and the network"
        case TimeoutError():
            hint = "; does the broker speak TLS on this port?" if is_tls else ""
            return f"no connection in time; check the network and the firewall{hint}"
        case ConnectionRefusedError():
            return "connection refused; is the broker running on this port?"
        case ConnectionResetError() if is_tls:
            return "the connection was closed; does the broker speak TLS on this port?"
        case _:
            return f"cannot connect: {err}"
