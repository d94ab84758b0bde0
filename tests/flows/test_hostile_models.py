"""A daemon goes on, and obeys, while a model that never opens or a half-copied version is in its way."""

import shutil
import signal

import psutil
import pytest

from tests.support.bundle_builds import build, replace_file
from tests.support.bundle_models import colourful, png, small_model
from tests.support.daemon_box import Box
from tests.support.hostile_models import LOOP
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        (pictures / f"{number}.png").write_bytes(png(colourful(number)))
    box.camera = {"c": {"path": str(pictures), "model": "m", "fps": 5, "loop": True}}
    yield box
    if box.process is not None and box.process.poll() is None:
        box.process.kill()
        box.process.wait()


def write(box, bundle, **camera):
    cameras = {"c": {**box.camera["c"], **camera}}
    box.write(models={"m": {"bundle": str(bundle), "recalibrate": False}}, cameras=cameras)


def generation(box):
    status = box.status()
    return status and status["models"]["m"]["generation"]


def config_events(box):
    return [event["data"]["accepted"] for event in box.events() if event["event"] == "config"]


def test_a_model_without_end_holds_up_neither_edits_nor_the_stop_nor_the_start(box):
    good = build(box.folder / "bundles", small_model())
    endless = box.folder / "endless"
    shutil.copytree(good, endless)
    replace_file(endless, "model.onnx", LOOP)
    write(box, good)
    box.start()
    assert until(box.is_ready)
    write(box, endless)
    assert until(lambda: is_opening(box))
    write(box, good, fps=4)
    assert until(lambda: config_events(box) == [True, False])
    assert box.status()["config_problem"] is None
    assert generation(box) == "small/1"
    box.process.send_signal(signal.SIGTERM)
    assert box.wait() == 0

    write(box, endless)
    box.start()
    assert until(lambda: is_opening(box))
    box.process.send_signal(signal.SIGTERM)
    assert box.wait() == 0
    assert "Traceback" not in box.log()


def is_opening(box):
    """Whether the daemon has a child that opens a model first."""
    try:
        return any(
            "sandbox_check" in " ".join(one.cmdline()) for one in psutil.Process(box.process.pid).children()
        )
    except psutil.Error:
        return False


def test_a_half_copied_newest_version_is_skipped_until_the_copy_is_done(box):
    for version in (1, 2):
        build(box.folder / "bundles", small_model(), version=version)
    root = box.folder / "bundles" / "small"
    shutil.move(root / "2" / "model.onnx", box.folder / "rest")
    write(box, root)
    box.start()
    assert until(box.is_ready)
    assert generation(box) == "small/1"
    assert "version: " in box.status()["models"]["m"]["notes"][0]
    assert [event["data"]["bundle"] for event in box.events() if event["event"] == "bundle"] == ["small/1"]
    shutil.move(box.folder / "rest", root / "2" / "model.onnx")
    assert until(lambda: generation(box) == "small/2")
    assert until(lambda: len([event for event in box.events() if event["event"] == "bundle"]) == 2)
    newest = box.events()[0]
    assert (newest["event"], newest["data"]["bundle"], newest["data"]["from"]) == (
        "bundle",
        "small/2",
        "small/1",
    )
    assert not box.status()["models"]["m"]["notes"]
    box.process.send_signal(signal.SIGTERM)
    assert box.wait() == 0
