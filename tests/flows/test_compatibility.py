"""Files and messages of commit 16cd0a8: a later daemon reads the first and still publishes the second."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import parse_config
from edge_runtime.messaging.mqtt.topics import Topics
from tests.support.listener import Listener
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.paths import DEMO, ROOT
from tests.support.waiting import WAIT_S, pause, until

pytestmark = pytest.mark.integration

OLD = ROOT / "tests" / "data" / "16cd0a8"
KEYS: dict[str, list[str]] = json.loads((OLD / "keys.json").read_text())
"""By topic, for events by kind, those of messages of then."""
SECRETS = {"EDGE_CAMERA_PASSWORD": "camera-pass", "EDGE_MQTT_PASSWORD": "mqtt-pass"}


class OldBox:
    """The box of the old state directory, with its file's camera foggy from the start, and all it publishes."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.folder = folder
        for name in ("state", "bundles"):
            shutil.copytree(OLD / name, folder / name)
        make_recent(folder / "state")
        self.port = free_port()
        text = (OLD / "box.yaml").read_text()
        for old, new in (
            ("port: 1}", f"port: {broker.port}, commands: true}}"),
            ("port: 18998", f"port: {self.port}"),
            ("fps: 10", "fps: 30"),
            ("drift_at_s: 12", "drift_at_s: 0"),
        ):
            assert old in text
            text = text.replace(old, new)
        (folder / "box.yaml").write_text(text)
        self.listener = Listener(broker)

    def start(self, code: Path = ROOT) -> None:
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_runtime", "run", "box.yaml"],
                cwd=self.folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(code)},
            )  # fmt: skip

    def on(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self.listener.of(topic)]

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.on("event") if event["event"] == kind]

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        before = len(self.on(f"response/{verb}"))
        self.listener.client.publish(f"edge/box/request/{verb}", json.dumps(arguments), qos=1)
        return dict(self.wait(lambda: self.on(f"response/{verb}")[before:])[0])

    def wait(self, condition: Any) -> Any:
        found = until(lambda: condition() or self.process.poll() is not None)
        assert self.process.poll() is None, (self.folder / "log").read_text()
        assert found, (self.folder / "log").read_text()
        return condition()

    def corrected_by(self) -> Any:
        """The patch, by HTTP: until all has begun, statuses lack what is not known yet, and would be messages too."""
        try:
            status = httpx.get(f"http://127.0.0.1:{self.port}/status", timeout=WAIT_S, verify=False).json()
        except httpx.TransportError:
            return None
        return status["models"]["photos"]["recalibration"]["corrected_by"]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(WAIT_S)
        self.listener.stop()  # the first messages are those of the old daemon


def make_recent(state: Path) -> None:
    """As if the old daemon had stopped just now: what waits or is kept for too long would be dropped."""
    database = sqlite3.connect(state / "outbox.db")
    with database:
        [[stopped_s]] = database.execute("SELECT wall_s FROM ledger").fetchall()
        database.execute("UPDATE ledger SET wall_s = ?", (time.time(),))
    database.close()
    for path in (state / "models" / "photos" / "reservoir").rglob("*.png"):
        wall_ms, rest = path.name.split(".", 1)
        path.rename(path.with_name(f"{int(wall_ms) + round((time.time() - stopped_s) * 1000)}.{rest}"))


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Paths of all keys in a JSON value; of a list the first element's."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}"
            yield from keys_of(inner, f"{path}{key}.")
    elif isinstance(value, list) and value:
        yield from keys_of(value[0], path)


def published_keys(box: OldBox) -> dict[str, list[str]]:
    """All keys by topic, for events by kind; of names that differ from case to case only those that always come."""
    found: dict[str, set[str]] = {}
    for heard in box.listener.heard:
        topic = heard.topic
        if topic.endswith("availability") or "/request/" in topic:
            continue
        message = json.loads(heard.payload)
        name = f"{topic} {message['event']}" if "event" in message else topic
        keys = {key for key in keys_of(message) if " " not in key}
        found[name] = found.get(name, keys) & keys
    return {name: sorted(keys) for name, keys in sorted(found.items())}


def play(box: OldBox) -> None:
    """Every kind of message once: state, results, answers, and each event of the recalibration."""
    box.wait(lambda: box.on("state") and box.on("result/belt"))
    # The drift that the patch of the old daemon corrects lasts: it is recognised, and no second alarm comes.
    box.wait(lambda: pause(0.2) or box.corrected_by() == "p1")
    assert len(box.events("drift")) == 1  # the old daemon's
    for verb in ("status", "baselines", "bless", "rollback"):
        assert box.ask(verb)["status"] == "ok"
    assert box.ask("recalibrate")["status"] == "ok"
    box.wait(lambda: len(box.events("recalibration")) > 1)
    assert box.ask("commission", frames=8, name="night")["status"] == "ok"
    box.wait(lambda: len(box.events("commissioned")) > 1)
    assert box.ask("expire", name="night")["status"] == "ok"
    assert box.ask("remove", name="night")["status"] == "ok"
    box.wait(lambda: KEYS.keys() <= published_keys(box).keys())  # events take another way than answers


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldBox]:
    folder = tmp_path_factory.mktemp("box")
    with Mosquitto(folder / "broker") as broker:
        box = OldBox(folder, broker)
        box.start()
        try:
            play(box)
        finally:
            box.close()
        yield box


def test_the_patch_and_the_baseline_of_the_old_state_are_in_use(box: OldBox) -> None:
    model = box.on("response/status")[0]["data"]["models"]["photos"]
    assert model["generation"] == "photos/1+p1"
    assert model["recalibration"]["previous"] == "photos/1"
    assert model["recalibration"]["commissioned"]
    assert model["recalibration"]["reservoir"]["restored"] == 40
    baselines = box.on("response/baselines")[0]["data"]
    assert baselines["in_use"] == "default"
    assert baselines["baselines"]["default"]["id"] == "449cd242d3f48a9f"
    assert baselines["baselines"]["default"]["frames"] == 40


def test_messages_that_waited_are_delivered_first_and_numbers_go_on(box: OldBox) -> None:
    ids = [result["id"] for result in box.on("result/belt")]
    assert ids[:453] == [f"box/belt/{number:09}" for number in range(453)]
    assert (box.folder / "state/streams/belt.seq").read_text() == "20000"  # 10000 were reserved before
    assert [event["event"] for event in box.on("event")][:3] == ["commissioned", "drift", "recalibration"]
    assert box.on("response/status")[0]["data"]["delivery"]["mqtt"]["dropped"] == 0


def test_the_patched_model_answers(box: OldBox) -> None:
    patched = box.on("result/belt")[453]
    assert patched["generation"] == "photos/1+p1"
    assert patched["top"][0]["score"] > 0


def test_a_roll_back_leads_to_the_base_and_the_next_patch_has_a_new_name(box: OldBox) -> None:
    rolled_back = box.events("rollback")[0]["data"]
    assert (rolled_back["from"], rolled_back["to"]) == ("photos/1+p1", "photos/1")
    assert box.events("recalibration")[1]["data"]["generation"] == "photos/1+p2"


def test_topics_and_keys_are_those_of_then(box: OldBox) -> None:
    found = published_keys(box)
    assert {name: sorted(set(keys) - set(found[name])) for name, keys in KEYS.items()} == {
        name: [] for name in KEYS
    }


def test_topics_are_those_of_then() -> None:
    topics = Topics("plant/edge", "box")
    assert topics.availability == "plant/edge/box/availability"
    assert topics.state == "plant/edge/box/state"
    assert topics.event == "plant/edge/box/event"
    assert topics.requests == "plant/edge/box/request/+"
    assert topics.result("belt") == "plant/edge/box/result/belt"
    assert topics.picture("gate") == "plant/edge/box/picture/gate"
    assert topics.request("status") == "plant/edge/box/request/status"
    assert topics.response("status") == "plant/edge/box/response/status"


NEW_DEFAULTS = {"/recalibration/timeout_s", "/log/format"}
"""Of keys that the files of then do not set: distilling takes longer; JSON is for machines, not for a terminal."""


@pytest.mark.parametrize("path", sorted((OLD / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_configuration_is_read_as_then(path: Path) -> None:
    expected = json.loads((OLD / "configs.json").read_text())[path.stem]
    values = {key: value for key, value in leaves(expected).items() if key not in NEW_DEFAULTS}
    assert leaves(read_config(path)).items() >= values.items()


def read_config(path: Path) -> dict[str, Any]:
    """All values of a configuration file, secrets included, as if it lay in /box."""
    config = parse_config(path.read_bytes(), path.name, SECRETS, base=Path("/box"), check_files=False)
    values = config.model_dump(mode="json")
    for name, camera in config.cameras.items():
        values["cameras"][name]["path"] = camera.path
    if config.mqtt is not None and config.mqtt.password is not None:
        values["mqtt"]["password"] = config.mqtt.password.get_secret_value()
    return values


def leaves(value: Any, path: str = "") -> dict[str, str]:
    """Every value of nested objects by its path."""
    if not isinstance(value, dict):
        return {path: json.dumps(value)}
    return {
        key: leaf for name, inner in value.items() for key, leaf in leaves(inner, f"{path}/{name}").items()
    }


@pytest.mark.parametrize("folder", [OLD / "bundles/photos/1", DEMO / "bundle/efficientnet-lite0/1"])
def test_a_bundle_of_then_is_loaded(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert bundle.id == f"{folder.parent.name}/1"
    assert bundle.manifest.postprocess.task == "classification"
