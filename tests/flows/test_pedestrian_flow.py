"""The detector bundle by one command, and the daemon that finds people on a street with it."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
import yaml
from numpy.typing import NDArray

from calibration.outputs.detections import Detections
from calibration.outputs.read import layout_of
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.inference.engines.threads import ThreadPlan
from tests.support.paths import DEMO, ROOT
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

STREET = DEMO / "street.mp4"
FIRST, LAST = 76, 86
"""Frames with a person close to the camera."""


def edge_runtime(*arguments: object, timeout_s: float = 5 * WAIT_S) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_runtime", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)


def read_street(count: int = LAST) -> list[NDArray[np.uint8]]:
    """The first frames of the street."""
    capture = cv2.VideoCapture(str(STREET))
    frames = [capture.read()[1] for _ in range(count)]
    capture.release()
    return frames


def write_clip(path: Path, frames: list[NDArray[np.uint8]]) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def test_a_detector_is_built_by_its_old_command_and_finds_people_in_the_daemon(tmp_path: Path) -> None:
    street = write_clip(tmp_path / "some.mp4", read_street(240)[::4])
    built = edge_runtime(
        "bundle", "build", "street-pedestrians", "--out", tmp_path, "--pictures", street, "--json"
    )
    assert built.returncode == 0, built.stderr
    report = orjson.loads(built.stdout)
    bundle = load_bundle(Path(report["path"]))
    assert bundle.manifest.format == "openvino"
    assert b'element_type="i8"' in bundle.model_files.data
    assert bundle.manifest.provenance.measured[0].agreement >= 0.9
    assert_answers_are_known_to_recalibration(bundle)

    clip = write_clip(tmp_path / "street.mp4", read_street()[FIRST:])
    config = {
        "device": "box",
        "state_dir": str(tmp_path / "state"),
        "models": {"people": {"bundle": str(bundle.path.parent)}},
        "cameras": {"street": {"path": str(clip), "model": "people"}},
        "http": {"enabled": False},
    }
    (tmp_path / "box.yaml").write_text(yaml.safe_dump(config))
    run = edge_runtime("run", tmp_path / "box.yaml")
    assert run.returncode == 0, run.stderr
    lines = (tmp_path / "state" / "results.jsonl").read_text().splitlines()
    results = [payload for line in lines if "stream" in (payload := orjson.loads(line)["payload"])]
    assert len(results) == LAST - FIRST
    found = [detection for result in results for detection in result["detections"]]
    assert len(found) >= 5
    assert {detection["label"] for detection in found} == {"person"}
    assert all(detection["score"] >= 0.5 for detection in found)


def assert_answers_are_known_to_recalibration(bundle: Bundle) -> None:
    engine = open_bundle_engine(bundle, ThreadPlan(1, 1, "test"))
    frames = read_street()[FIRST::5]
    small = [cv2.resize(frame, (300, 300), interpolation=cv2.INTER_AREA)[..., ::-1] for frame in frames]
    outputs = engine.infer(np.stack(small).astype(np.float32).transpose(0, 3, 1, 2).copy())
    from calibration.outputs.read import read_answers

    detections = read_answers(outputs, layout_of(outputs))
    assert isinstance(detections, Detections)
    assert detections.objects().min() > 0.5
