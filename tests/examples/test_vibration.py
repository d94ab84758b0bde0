"""The example of signals is executed: from its training to a box that corrects a sensor that has drifted."""

import shutil

import numpy as np
import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

import calibration
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.offline import answer_files, calibrate_bundle, verify_bundle
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.preprocess import make_preprocessor
from examples.vibration.sensor import Drift, make_messages
from examples.vibration.vibration import AXES, BUNDLES, MOTIONS, build_all, cut, read_series
from tests.support.daemon_box import Box
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration
ALONE = ThreadPlan(1, 1, "test")
DRIFT = Drift(gain=1.6, offset=1.0)
VERSIONS = [int(one["version"]) for one in BUNDLES]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder that the example leaves."""
    out = tmp_path_factory.mktemp("vibration")
    build_all(out)
    return out


def bundle_of(made, version):
    return load_bundle(made / "bundles" / "vibration" / str(version))


def share_right(bundle, series, motions, model=None):
    """Of all windows of series (n, 100, 6), as the box answers them."""
    windows, y = cut(series, motions)
    prepare = make_preprocessor(bundle.manifest.preprocess).prepare
    engine = open_bundle_engine(bundle, ALONE, model=model)
    samples = [prepare(Frame("press", i, one.astype(np.float64), 0.0, 0.0)) for i, one in enumerate(windows)]
    assert all(isinstance(sample, Sample) for sample in samples)
    [scores] = engine.infer(np.stack([sample.tensor for sample in samples])).values()
    return float((scores.argmax(axis=1) == y).mean())


@pytest.mark.parametrize("version", VERSIONS)
def test_every_form_verifies_and_knows_the_motions(made, version):
    bundle = bundle_of(made, version)
    assert verify_bundle(bundle.path)["windows"] == len(list((made / "golden").iterdir()))
    assert share_right(bundle, *read_series("TEST")) > 0.95
    assert bundle.manifest.calibration.moments is not None


def test_a_file_of_a_series_is_answered_window_by_window(made):
    answers = list(answer_files(bundle_of(made, 1).path, [made / "labelled" / "Running" / "10.npy"]))
    assert [one["from_s"] for one in answers] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert {one["top"][0]["label"] for one in answers} == {"Running"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_patch_brings_back_what_gain_and_offset_took(made, tmp_path, version):
    bundle, rng = bundle_of(made, version), np.random.default_rng(0)
    series, motions = read_series("TEST")
    drifted = np.stack([DRIFT.apply(one, rng) for one in series])
    reference, test = np.split(rng.permutation(len(series)), 2)
    now = tmp_path / "now"
    now.mkdir()
    for number in reference:
        np.save(now / f"{number:02}.npy", drifted[number])
    patch = tmp_path / "patch.safetensors"
    report = calibrate_bundle(
        bundle.path, made / "calibration", tmp_path / "healthy.safetensors", now, patch, 0
    )
    assert report["accepted"], report["lines"]
    files = calibration.patched(bundle.model_files, calibration.Patch.load(patch)).files
    healthy, before = (share_right(bundle, x[test], motions[test]) for x in (series, drifted))
    after = share_right(bundle, drifted[test], motions[test], files)
    assert after - before >= 0.8 * (healthy - before) > 0.1


class Press:
    """The sensor, which publishes as fast as the box answers."""

    def __init__(self, broker):
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def play_until(self, drift, condition):
        """Send messages until something is so; whether it became so."""
        messages = make_messages(drift)

        def send_and_look():
            for _ in range(20):
                self._client.publish("plant/press/motion", next(messages), qos=1).wait_for_publish(WAIT_S)
            return condition()

        # A refused reference costs seconds, several times as many on a busy machine; the next one may be accepted.
        return until(send_and_look, 4 * WAIT_S)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


def recalibration_of(box):
    return ((box.status() or {}).get("models") or {}).get("motion", {}).get("recalibration") or {}


def test_the_box_commissions_itself_and_corrects_the_sensor(made, tmp_path):
    config = yaml.safe_load((made / "box.yaml").read_text())
    shutil.copytree(made / "bundles", tmp_path / "bundles")
    with Mosquitto(tmp_path / "broker") as broker:
        box = Box(tmp_path)
        config["mqtt"] |= {"host": broker.host, "port": broker.port}
        config["drift"]["sample_every_s"] = 0.001  # the sensor is played faster than it is
        config["recalibration"]["cooldown_s"] = (
            1  # a reference of few motions may be refused; the next one comes soon
        )
        box.write(**{**config, "state_dir": str(box.state), "device": "box"})
        box.start()
        press = Press(broker)
        try:
            assert press.play_until(Drift(), lambda: recalibration_of(box).get("baselines")), box.log()
            assert press.play_until(DRIFT, lambda: recalibration_of(box).get("accepted")), box.events()
        finally:
            press.close()
            box.process.terminate()
            box.wait()


def test_a_sensor_says_what_is_missing_and_dead():
    message = yaml.safe_load(next(make_messages(Drift(dead="gy", missing=0.3))))
    assert set(message) == set(AXES)
    values = [value for axis in AXES if axis != "gy" for value in message[axis]]
    assert None in values
    assert set(message["gy"]) <= {0.0, None}
    assert len(MOTIONS) == 4
