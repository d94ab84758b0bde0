"""problems: every reason for not being connected names a remedy that can help, and no other."""

import socket
import ssl

import pytest

from edge_runtime.messaging.mqtt.problems import (
    explain_denial,
    explain_error,
    explain_refusal,
    explain_subscription,
)

NOW = "1970-01-01"


def certificate_error(code, message="bad"):
    err = ssl.SSLCertVerificationError(1, message)
    err.verify_code, err.verify_message = code, message
    return err


@pytest.mark.parametrize(
    ("err", "is_tls", "says", "says_not"),
    [
        (certificate_error(9), True, f"this device's clock: it says {NOW}", "mqtt.tls.ca"),
        (certificate_error(10), True, "renew it at the broker", "mqtt.tls.ca"),
        (certificate_error(18), True, "mqtt.tls.ca", "speak TLS"),
        (certificate_error(62), True, "mqtt.host", "speak TLS"),
        (ssl.SSLError(1, "wrong version number"), True, "does the broker speak TLS", "clock"),
        (socket.gaierror(-2, "unknown"), True, "mqtt.host", "speak TLS"),
        (ConnectionRefusedError(), True, "is the broker running", "speak TLS"),
        (TimeoutError(), False, "firewall", "TLS"),
        (ConnectionResetError(), True, "does the broker speak TLS", "clock"),
        (OSError(101, "Network is unreachable"), False, "unreachable", "TLS"),
    ],
)
def test_an_error_of_the_connection(err, is_tls, says, says_not):
    text = explain_error(err, is_tls=is_tls, now_text=NOW)
    assert says in text
    assert says_not not in text


@pytest.mark.parametrize("code", [0x84, 0x88, 0x89, 0x8A, 0x95, 0x97, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F, 0xEE])
def test_the_password_is_only_asked_for_when_it_can_be_the_cause(code):
    text = explain_refusal(code, "name of the code", "edge/box")
    assert "name of the code" in text
    assert "password" not in text


@pytest.mark.parametrize("code", range(0x80, 0x100))
def test_a_refusal_of_a_message_has_words_without_varying_numbers(code):
    assert explain_denial(code) == explain_denial(code) != ""


@pytest.mark.parametrize("text", [explain_denial(0x90), explain_subscription("edge/box/request/+", 0x8F)])
def test_codes_that_ejabberd_gives_for_missing_rights_name_the_access_rules(text):
    assert "access rules" in text
