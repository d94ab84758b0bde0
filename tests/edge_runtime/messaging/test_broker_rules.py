"""The access rules that docs/operations.md gives to installers, tried on a real broker."""

import re
import threading

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.mosquitto import Mosquitto
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RULES = next(
    block
    for block in re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    if "pattern" in block
)
USERS = ("belt-3", "belt-4", "anna", "panel", "homeassistant")
REJECTED = "edge/belt-3/rejected/belt"
SPOKEN = {
    REJECTED,
    *(f"edge/belt-3/{topic}" for topic in ("result/belt", "event", "state", "availability", "figures")),
}
ANSWER, GROUP = "edge/belt-3/response/status", "edge/groups/line-3/request/status"
BUTTON, DISCOVERY = "edge/belt-3/request/rollback", "homeassistant/device/edge/belt-3/config"
TO_THE_BOX = {"edge/belt-3/request/status", "edge/belt-3/upload/chunk", BUTTON}
OWN = {*SPOKEN, ANSWER, *TO_THE_BOX, DISCOVERY}
TO_ALL = {GROUP, "homeassistant/status"}
MAY_PUBLISH = {
    "belt-3": OWN,
    "belt-4": set(),
    "anna": {*TO_THE_BOX, GROUP},
    "panel": set(),
    "homeassistant": {BUTTON, DISCOVERY, "homeassistant/status"},
}
MAY_HEAR = {
    "belt-3": {*OWN, *TO_ALL},
    "belt-4": TO_ALL,
    "anna": {ANSWER, *TO_ALL},
    "panel": {*SPOKEN, *TO_ALL},
    "homeassistant": {*SPOKEN, DISCOVERY, *TO_ALL} - {REJECTED},
}


class User:
    """Of the broker; listens to everything that it may hear."""

    def __init__(self, broker, name):
        self.heard, self.codes, self._is_ready = set(), {}, threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.username_pw_set(name, f"of {name}")
        self.client.on_connect = lambda client, *_: client.subscribe([("edge/#", 1), ("homeassistant/#", 1)])
        self.client.on_subscribe = lambda *_: self._is_ready.set()
        self.client.on_message = lambda _, __, message: self.heard.add(message.topic)
        self.client.on_publish = lambda _, __, mid, reason, ___: self.codes.update({mid: reason.value})
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        assert self._is_ready.wait(WAIT_S)

    def publish(self, topic):
        """The reason code of the broker."""
        mid = self.client.publish(topic, b"{}", qos=1).mid
        assert until(lambda: mid in self.codes)
        return self.codes[mid]


def test_each_box_speaks_for_itself_and_only_the_operator_commands(tmp_path):
    (tmp_path / "acl").write_text(RULES)
    passwords = {name: f"of {name}" for name in USERS}
    with Mosquitto(tmp_path, passwords=passwords, extra=f"acl_file {tmp_path / 'acl'}") as broker:
        users = {name: User(broker, name) for name in USERS}
        for name, user in users.items():
            taken = {topic for topic in sorted({*OWN, *TO_ALL}) if user.publish(topic) < 0x80}
            assert taken == MAY_PUBLISH[name], name
        for name, user in users.items():
            assert until(lambda user=user, name=name: user.heard >= MAY_HEAR[name]), name
            assert user.heard == MAY_HEAR[name], name
            user.client.disconnect()
            user.client.loop_stop()
