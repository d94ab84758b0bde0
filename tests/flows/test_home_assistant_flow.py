"""A whole daemon and what Home Assistant makes of it, over a real broker."""

import io
import json

import pytest
from PIL import Image

from tests.support.home_assistant import HomeAssistant, check
from tests.support.mosquitto import Mosquitto
from tests.support.small_site import small_bundle, small_camera
from tests.support.waiting import until

pytestmark = pytest.mark.integration

TOPIC = "homeassistant/device/edge/box/config"
OLD = {"components": {"camera_old_label": {"platform": "sensor", "unique_id": "old"}}}


@pytest.fixture
def home(tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        home = HomeAssistant(broker.host, broker.port, TOPIC)
        yield home
        home.close()


def test_home_assistant_shows_what_the_box_does_and_its_buttons_command_it(box, home, tmp_path):
    bundle, camera = (
        small_bundle(tmp_path),
        small_camera(tmp_path / "pictures", fps=5, snapshots=True)["belt"],
    )

    def write(cameras, **mqtt):
        box.write(
            models={"parts": {"bundle": str(bundle.path)}},
            cameras=dict.fromkeys(cameras, camera),
            mqtt={"host": "127.0.0.1", "port": home.port, "commands": True, **mqtt},
        )

    def has_value(key):
        return key in home.components and home.values().get(key, "None") != "None"

    home.publish(TOPIC, json.dumps(OLD), retain=True)
    assert until(lambda: home.discovered)
    home.discovered.clear()
    write(("belt", "gate"), home_assistant={"figures_every_s": 1})
    box.start()
    assert until(lambda: home.components.get("camera_old_label") == {"platform": "sensor"}), box.log()
    check(json.loads(home.discovered[-1]))
    assert until(lambda: has_value("camera_gate_fps")), box.log()
    picture = home.components["camera_belt_picture"]["image_topic"]
    assert until(lambda: picture in home.messages), box.log()
    assert Image.open(io.BytesIO(home.messages[picture])).format == "JPEG"
    values = home.values()
    assert values["camera_belt_label"] in set("abcdefghij")
    assert 0 <= float(values["camera_belt_score"]) <= 100
    assert 0 < float(values["camera_belt_fps"]) <= 60
    assert 0 < float(values["model_parts_p50"]) <= float(values["model_parts_p99"])
    assert (values["model_parts_alarm"], values["model_parts_generation"]) == ("None", "small/1")
    assert values["problem"] in ("ON", "OFF")
    home.press("model_parts_rollback")
    assert until(lambda: "edge/box/response/rollback" in home.messages)
    answer = json.loads(home.messages["edge/box/response/rollback"])
    assert isinstance(answer["transaction"], int)

    before = len(home.discovered)
    home.publish("homeassistant/status", b"online")
    assert until(lambda: len(home.discovered) == before + 1)
    write(("belt",), home_assistant={"figures_every_s": 1})
    assert until(lambda: home.components.get("camera_gate_label") == {"platform": "sensor"}), box.log()
    write(("belt",))
    assert until(lambda: home.discovered[-1] == b""), box.log()
    assert box.status()["config"]["number"] == 3
