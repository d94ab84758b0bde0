"""mqtt_settings: values that cannot work are refused with their key, before anything is connected."""

import pytest

from edge_runtime.errors import ConfigError
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.settings import MqttSettings, TlsSettings
from tests.support.mosquitto import make_tls_files


@pytest.mark.parametrize("bad", ["missing", "garbage", "key of another", "key alone", "a directory"])
def test_unusable_tls_files_are_a_config_error_that_names_the_key(tmp_path, bad):
    tls_files = make_tls_files(tmp_path / "tls")
    (tmp_path / "garbage.pem").write_text("no certificate")
    tls, where = {
        "missing": (TlsSettings(ca=tmp_path / "no.pem"), "mqtt.tls.ca"),
        "garbage": (TlsSettings(ca=tmp_path / "garbage.pem"), "mqtt.tls.ca"),
        "a directory": (TlsSettings(ca=tmp_path), "mqtt.tls.ca"),
        "key of another": (
            TlsSettings(tls_files.ca, tls_files.client_cert, tls_files.server_key),
            "mqtt.tls.cert",
        ),
        "key alone": (TlsSettings(tls_files.ca, None, tls_files.client_key), "mqtt.tls.cert"),
    }[bad]
    with pytest.raises(ConfigError, match=where):
        MqttClient(MqttSettings("127.0.0.1", "d", tls=tls))


def test_all_bad_settings_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        MqttSettings("a b", "d", port=0, keepalive_s=0, max_inflight=0, password="x")
    assert [problem.where for problem in caught.value.problems] == [
        "mqtt.host", "mqtt.port", "mqtt.keepalive_s", "mqtt.max_inflight", "mqtt.user"]  # fmt: skip
    with pytest.raises(ConfigError, match="device"):
        MqttSettings("h", "a/b")
