"""The daemon as a user has it: a process, a YAML file, pictures in, results out; killed, edited, asked."""

import json
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from tests.support.daemon_box import conveyor, folder_camera
from tests.support.listener import Listener
from tests.support.metrics_page import find_falls, read_counts
from tests.support.mjpeg_camera import MjpegCamera
from tests.support.mosquitto import Mosquitto
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.paths import DEMO, ROOT
from tests.support.prometheus import Prometheus
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

BROKER_LOST, CAMERA_LOST = "EdgeRuntimeBrokerLost", "EdgeRuntimeCameraWithoutResults"
DOWN, NOT_CORRECTED = "EdgeRuntimeDown", "EdgeRuntimeDriftNotCorrected"
LATENCY = "histogram_quantile(0.5, rate(edge_runtime_request_duration_seconds_bucket[1m]))"


def test_a_folder_is_played_to_its_end_and_every_picture_is_accounted_for(box):
    cameras = folder_camera(box)
    (box.folder / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    box.write(cameras=cameras)
    box.start()
    assert box.wait() == 0
    good = len(list((box.folder / "pictures").glob("*.jpg"))) - 1
    results = box.results()
    assert len(results) == good
    assert len({result["id"] for result in results}) == good
    assert all(result["top"] and result["generation"] == "efficientnet-lite0/1" for result in results)
    assert '"frame rejected"' in box.log()


def test_sigterm_drains_and_exits_0(box, collector):
    """Some frames are traced meanwhile."""
    box.write(cameras=conveyor(), telemetry={"otlp": collector.url, "traces_per_s": 4})
    box.start()
    assert until(lambda: (box.status() or {}).get("first_result_s"))
    assert until(box.is_ready)
    assert until(lambda: len(box.results()) > 3)
    assert until(lambda: sum(span.name == "frame" for span in list(collector.spans)) >= 2)
    box.process.send_signal(signal.SIGTERM)
    assert box.wait(WAIT_S) == 0
    sequence = [result["seq"] for result in box.results()]
    assert sequence == sorted(
        set(sequence)
    )  # a loaded machine may drop a live frame, but repeats and swaps none
    account = box_account(box, "outbox-file.db")
    assert account["enqueued"] == account["delivered"]
    frames = [span for span in collector.spans if span.name == "frame"]
    traced = [span.attributes["frame.id"] for span in frames]
    assert 2 <= len(traced) == len(set(traced)) < len(sequence)
    assert set(traced) <= {result["id"] for result in box.results()}
    assert {span.resource["service.instance.id"] for span in frames} == {"box"}
    assert all(len(collector.children_of(span)) == 7 for span in frames)


def test_after_kill_9_no_id_comes_twice_and_nothing_accepted_is_lost(box):
    box.write(cameras=folder_camera(box, loop=True, fps=30))
    seen = set()
    for _ in range(3):
        box.start()
        before = len(seen)
        assert until(lambda wanted=before + 20: len({r["id"] for r in box.results()}) > wanted)
        box.process.kill()
        box.wait()
        seen = {result["id"] for result in box.results()}
    numbers = {}
    for result in box.results():
        assert numbers.setdefault(result["id"], result["top"]) == result["top"], "an id was used twice"


@pytest.mark.parametrize(
    ("keys", "code", "words"),
    [
        (
            {"cameras": {"belt": {"path": "gopher://x/y", "model": "nope", "fsp": 3}}},
            78,
            ["gopher", "nope", "fsp"],
        ),
        (
            {"cameras": {"belt": {"path": "demo:conveyor", "model": "parts"}}, "state_dir": "/proc/nowhere"},
            74,
            ["state"],
        ),
        (
            {
                "models": {"parts": {"bundle": "/no/such/bundle"}},
                "cameras": {"belt": {"path": "demo:conveyor", "model": "parts"}},
            },
            65,
            ["/no/such/bundle"],
        ),
    ],
)
def test_what_cannot_run_says_so_and_leaves_with_the_right_code(box, keys, code, words):
    box.write(**keys)
    box.start()
    assert box.wait() == code
    assert all(word in box.log() for word in words)


def test_two_daemons_do_not_share_a_state_directory(box):
    box.write(cameras=conveyor())
    box.start()
    assert until(box.is_ready)
    second = subprocess.run(
        [sys.executable, "-m", "edge_runtime", "run", str(box.file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
    )
    assert second.returncode == 74
    assert "another daemon" in second.stderr


def test_a_tampered_bundle_is_refused(box):
    bundle = box.folder / "bundles" / "efficientnet-lite0" / "1"
    shutil.copytree(DEMO / "bundle" / "efficientnet-lite0" / "1", bundle)
    text = (bundle / "bundle.yaml").read_text()
    assert "colour: rgb" in text
    (bundle / "bundle.yaml").write_text(text.replace("colour: rgb", "colour: bgr"))
    box.write(models={"parts": {"bundle": str(bundle)}}, cameras=conveyor())
    box.start()
    assert box.wait() == 65
    assert "colour" in box.log()


def test_edits_are_applied_live_and_bad_ones_are_refused(box):
    box.write(cameras=conveyor())
    box.start()
    assert until(box.is_ready)
    box.write("device: [oops\n")
    assert until(lambda: any(e["event"] == "config" and not e["data"]["accepted"] for e in box.events()))
    assert box.status()["config_problem"]
    before = box.status()["models"]["parts"]["streams"]["belt"]["results"]
    assert until(lambda: box.status()["models"]["parts"]["streams"]["belt"]["results"] > before)
    box.write(cameras={**conveyor(), "second": {"path": "demo:conveyor", "model": "parts", "fps": 5}})
    assert until(lambda: "second" in box.status()["cameras"])
    assert until(
        lambda: any(result["stream"] == "second" for result in box.get("/results").json()["results"])
    )
    assert box.status()["config_problem"] is None
    box.write(cameras={"second": {"path": "demo:conveyor", "model": "parts", "fps": 5}})
    assert until(lambda: "belt" not in box.status()["cameras"])


def test_a_model_is_replaced_under_a_running_camera_without_losing_a_frame(box):
    def models(runtime):
        return {
            "parts": {
                "bundle": "demo:efficientnet-lite0",
                "engine": {"runtime": runtime},
                "max_age_ms": 10_000,
            }
        }

    def scrape():
        pages.append(read_counts(box.get("/metrics").text))

    pages = []
    box.write(cameras=conveyor(), models=models("onnxruntime"))
    box.start()
    assert until(lambda: (box.status() or {}).get("first_result_s"))
    scrape()
    for runtime in ("openvino", "onnxruntime", "openvino"):
        box.write(cameras=conveyor(), models=models(runtime))
        assert until(lambda name=runtime: box.status()["models"]["parts"]["runs_on"].startswith(name))
        scrape()
    seen = len(box.results())
    assert until(lambda: len(box.results()) > seen + 15)
    numbers = [result["seq"] for result in box.results()]
    status = box.status()
    camera, model = status["cameras"]["belt"], status["models"]["parts"]
    missing = set(range(numbers[-1])) - set(numbers)
    assert numbers == sorted(set(numbers)), "once, in order"
    overload = camera["dropped"] + model["dropped_oldest"] + model["dropped_stale"]
    assert len(missing) <= overload, "an edit loses nothing, and what a busy box sheds is counted"
    assert model["lost_to_errors"] == 0
    assert model["streams"]["belt"]["results"] >= len(numbers), "counters go on"
    assert camera["restarts"] == 0
    scrape()
    box.write(cameras=conveyor(priority="high", fps=10), models=models("openvino"))
    assert until(lambda: sum(event["event"] == "config" for event in box.events()) == 4)
    scrape()
    assert find_falls(pages) == {}, "neither an edit of the model nor one of the camera"
    assert pages[-1]["edge_runtime_config_edits_total", "outcome=applied"] == 4


@pytest.mark.parametrize("edit", ["models: [", json.dumps({"models": {"parts": {"bundle": "not-there"}}})])
def test_a_box_whose_last_edit_was_refused_starts_with_the_one_before(box, edit, monkeypatch):
    """The file cannot be mended before the power comes back."""
    box.write(cameras=conveyor())
    box.start()
    assert until(box.is_ready)
    box.process.kill()
    box.wait()
    if edit.startswith("{"):
        box.write(cameras=conveyor(), **json.loads(edit))
    else:
        box.write(text=f"state_dir: {box.state}\n{edit}")
        monkeypatch.setenv("STATE_DIRECTORY", str(box.state))
    box.start()
    assert until(box.is_ready)
    assert any(reason.startswith("configuration: ") for reason in box.get("/readyz").json()["reasons"])
    assert [e["data"]["accepted"] for e in box.events() if e["event"] == "config"] == [False]
    box.write(cameras=conveyor(fps=14))
    assert until(lambda: box.status()["config_problem"] is None)


def test_an_edit_that_names_a_bad_bundle_leaves_the_running_model_alone(box):
    box.write(cameras=conveyor())
    box.start()
    assert until(box.is_ready)
    box.write(cameras=conveyor(), models={"parts": {"bundle": "/no/such/bundle"}})
    assert until(lambda: (box.status() or {}).get("config_problem"))
    before = box.status()["models"]["parts"]["streams"]["belt"]["results"]
    assert until(lambda: box.status()["models"]["parts"]["streams"]["belt"]["results"] > before + 5)


def test_results_state_and_commands_over_a_broker_that_is_killed_in_the_middle(box, tmp_path):
    with (
        Mosquitto(tmp_path / "broker", is_persistent=True) as broker,
        Prometheus(tmp_path / "prometheus", box.port) as prometheus,
        closing(MjpegCamera(fps=2, width=160)) as camera,
    ):
        gate = {"path": camera.url, "model": "parts", "stall_timeout_s": 1}
        box.write(
            cameras={**conveyor(), "gate": gate},
            mqtt={"host": broker.host, "port": broker.port, "commands": True},
        )
        listener = Listener(broker)
        box.start()
        assert until(lambda: len(listener.of("result/belt")) > 20)
        assert until(lambda: b"online" in listener.of("availability"))
        assert until(lambda: listener.of("state"))
        assert until(lambda: prometheus.query("edge_runtime_broker_connected") == [1.0])
        assert until(lambda: listener.of("result/gate") and CAMERA_LOST not in prometheus.firing())
        camera.hung_up.set()
        broker.kill()
        before = box.status()["models"]["parts"]["streams"]["belt"]["results"]
        assert until(lambda: box.status()["models"]["parts"]["streams"]["belt"]["results"] > before + 15)
        assert box.is_ready(), "a broker that is away must not make the box unready"
        assert until(lambda: {BROKER_LOST, CAMERA_LOST} <= prometheus.firing())
        camera.hung_up.clear()
        broker.start()
        assert until(lambda: box.status()["delivery"]["mqtt"]["pending"] < 5)
        assert until(lambda: not {BROKER_LOST, CAMERA_LOST} & prometheus.firing())
        assert prometheus.query('edge_runtime_outbox_dropped_total{channel="mqtt"} > 0') == []
        assert prometheus.query(LATENCY)[0] > 0
        answer = subprocess.run(
            [sys.executable, "-m", "edge_runtime", "send", "status", "--config", str(box.file)],
            cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
        assert json.loads(answer.stdout)["data"]["device"] == "box", answer.stderr
        refused = subprocess.run(
            [sys.executable, "-m", "edge_runtime", "send", "recalibrate", "--config", str(box.file)],
            cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
        assert "commission" in json.loads(refused.stdout)["error"]
        box.process.send_signal(signal.SIGTERM)
        assert box.wait(WAIT_S) == 0
        assert until(lambda: listener.of("availability")[-1] == b"offline")
        channel = box_account(box)
        listener.close()
    assert channel["enqueued"] == channel["delivered"]


def test_an_edit_of_the_broker_reconnects_without_a_restart_and_loses_nothing(box, tmp_path):
    with Mosquitto(tmp_path / "first") as first, Mosquitto(tmp_path / "second") as second:
        box.write(cameras=conveyor(), mqtt={"host": first.host, "port": first.port})
        listeners = Listener(first), Listener(second)
        box.start()
        assert until(lambda: len(listeners[0].of("result/belt")) > 10)
        before = read_counts(box.get("/metrics").text)
        box.write(cameras=conveyor(), mqtt={"host": second.host, "port": second.port})
        assert until(lambda: len(listeners[1].of("result/belt")) > 10)
        assert find_falls([before, read_counts(box.get("/metrics").text)]) == {}
        assert until(lambda: listeners[0].of("availability")[-1] == b"offline")
        box.process.send_signal(signal.SIGTERM)
        assert box.wait(WAIT_S) == 0
        assert until(lambda: listeners[1].of("availability")[-1] == b"offline")
        numbers = [json.loads(payload)["seq"] for one in listeners for payload in one.of("result/belt")]
        for one in listeners:
            one.close()
    account = box_account(box)
    assert account["enqueued"] == account["delivered"]
    assert len(numbers) >= len(set(numbers)) > 20


def box_account(box, name="outbox.db"):
    """The outbox's own books after the daemon has ended."""
    from edge_runtime.messaging.outbox.outbox import Outbox
    from edge_runtime.system.supervised_thread import Crashes

    outbox = Outbox(box.state / name, Crashes())
    ledger = outbox.ledger()
    outbox.close()
    return {"enqueued": ledger.enqueued, "delivered": ledger.delivered}


def test_pictures_over_mqtt_are_answered(box, tmp_path):
    with Mosquitto(tmp_path / "broker") as broker:
        cameras = {"gate": {"path": "mqtt", "model": "parts"}}
        box.write(cameras=cameras, mqtt={"host": broker.host, "port": broker.port})
        listener = Listener(broker)
        box.start()
        assert until(lambda: b"online" in listener.of("availability"))
        picture = (DEMO / "pictures" / "orange.jpg").read_bytes()
        for payload in (picture, b"garbage", picture):
            listener.client.publish("edge/box/picture/gate", payload, qos=1)
        assert until(lambda: len(listener.of("result/gate")) == 2)
        assert sum(box.status()["models"]["parts"]["streams"]["gate"]["rejected"].values()) == 1
        listener.close()


@pytest.fixture
def collector():
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def prometheus(box):
    with Prometheus(box.folder / "prometheus", box.port) as prometheus:
        yield prometheus


def test_a_drift_is_noticed_and_recalibrated_and_the_patch_survives_kill_9(box, prometheus):
    """The main job on the demo's net; that it *helps* is shown by the demo and the benchmark.

    Prometheus hears of the drift and of the kill, and that either is over.
    """

    def write(**demo):
        box.write(
            cameras=conveyor(fps=8, demo=demo),
            recalibration={
                "commission": {"frames": 48, "automatic": True},
                "reference": {"frames": 32},
                "cooldown_s": 5,
                "distillation": "short",
            },
            drift={"window_frames": 16, "sample_every_s": 0.03, "cooldown_s": 600},
        )

    write()
    box.start()
    assert until(lambda: any(e["event"] == "commissioned" for e in box.events()))
    write(drift="haze", drift_at_s=0)
    assert until(lambda: any(e["event"] == "drift" for e in box.events()))
    assert until(lambda: NOT_CORRECTED in prometheus.firing())
    assert until(lambda: any(e["event"] == "recalibration" for e in box.events()))
    [verdict] = [e["data"] for e in box.events() if e["event"] == "recalibration"]
    assert verdict["accepted"], verdict
    status = box.status()["models"]["parts"]
    assert status["generation"] == "efficientnet-lite0/1+p1"
    assert status["lost_to_errors"] == 0
    assert until(lambda: NOT_CORRECTED not in prometheus.firing())
    assert prometheus.query('edge_runtime_recalibrations_total{outcome="accepted"}') == [1.0]
    box.process.kill()
    box.wait()
    assert until(lambda: DOWN in prometheus.firing())
    box.start()
    assert until(lambda: DOWN not in prometheus.firing())
    assert until(lambda: (box.status() or {}).get("first_result_s"))
    assert box.status()["models"]["parts"]["generation"] == "efficientnet-lite0/1+p1"


def reservoir_of(box):
    return box.status()["models"]["parts"]["recalibration"]["reservoir"]


def test_the_reservoir_survives_a_restart_and_a_live_edit_to_no_pictures_empties_it(box):
    def write(pictures):
        reference = {"frames": 8, "pictures": pictures}
        box.write(
            cameras=conveyor(),
            recalibration={"min_frames": 8, "reference": reference},
            drift={"sample_every_s": 0.05},
        )

    write("keep")
    box.start()
    assert until(lambda: box.is_ready() and reservoir_of(box)["frames"] >= 20)
    box.process.send_signal(signal.SIGTERM)
    assert box.wait(WAIT_S) == 0
    assert len(list(box.state.rglob("reservoir/**/*.png"))) >= 20
    box.start()
    assert until(box.is_ready)
    assert until(lambda: reservoir_of(box)["restored"] >= 20)
    write("never")
    assert until(lambda: reservoir_of(box)["pictures"] == "never")
    assert until(lambda: reservoir_of(box)["frames"] >= 8)
    box.process.send_signal(signal.SIGTERM)
    assert box.wait(WAIT_S) == 0
    kept = {path.suffix for path in box.state.rglob("*") if path.is_file() and "reservoir" in path.parts}
    assert kept == {".json"}
