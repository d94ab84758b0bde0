"""mqtt_settings: files that cannot work are refused with their key, before anything is connected."""

import pytest

from edge_runtime.config import TlsConfig
from edge_runtime.errors import ConfigError
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.system.supervised_thread import Crashes
from tests.support.mosquitto import make_tls_files


@pytest.mark.parametrize("bad", ["missing", "garbage", "key of another", "a directory"])
def test_unusable_tls_files_are_a_config_error_that_names_the_key(tmp_path, bad):
    tls_files = make_tls_files(tmp_path / "tls")
    (tmp_path / "garbage.pem").write_text("no certificate")
    tls, where = {
        "missing": (TlsConfig(ca=tmp_path / "no.pem"), "mqtt.tls.ca"),
        "garbage": (TlsConfig(ca=tmp_path / "garbage.pem"), "mqtt.tls.ca"),
        "a directory": (TlsConfig(ca=tmp_path), "mqtt.tls.ca"),
        "key of another": (
            TlsConfig(ca=tls_files.ca, cert=tls_files.client_cert, key=tls_files.server_key),
            "mqtt.tls.cert",
        ),
    }[bad]
    with pytest.raises(ConfigError, match=where):
        MqttClient(MqttSettings("127.0.0.1", "d", tls=tls), Crashes())
