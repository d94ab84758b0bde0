"""A command loads what it uses, so that ``--help`` and small commands start at once."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

SLOW = {"numpy", "cv2", "pydantic", "structlog", "rich", "asyncio", "ruamel"}
WHEN_USED = {
    "cryptography", "defusedxml", "google", "grpc", "jinja2", "joserfc", "onnx", "openvino", "opentelemetry",
    "oras", "requests", "torch", "tqdm", "trackforge",
}  # fmt: skip


def _modules_after(code: str) -> set[str]:
    """The top-level modules that a new interpreter has after ``code``."""
    tell = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}}, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", tell], check=True, timeout=120, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_the_command_line_is_read_before_any_library_of_a_command() -> None:
    modules = _modules_after("import edge_runtime.cli.main")
    assert ({"edge_runtime", "click"} - modules, modules & (SLOW | WHEN_USED)) == (set(), set())


def test_the_daemon_needs_no_library_of_a_feature_that_is_off() -> None:
    modules = _modules_after("import edge_runtime.daemon.wiring.daemon")
    assert ({"numpy", "pydantic"} - modules, modules & WHEN_USED) == (set(), set())


RUN = """
import os, sys
from pathlib import Path
from edge_runtime.config import load_config
from edge_runtime.daemon.wiring.daemon import build_daemon

path, found = Path(sys.argv[1]), []

def note_first(result):
    if not found:
        found.extend({name.partition(".")[0] for name in sys.modules})
        daemon.stop()

daemon = build_daemon(load_config(path, os.environ), path, on_result=note_first)
daemon.run(60)
print(*found, sep="\\n")
"""
AFTER_THE_FIRST_RESULT = WHEN_USED | {"cbor2", "click", "msgpack", "paho", "ruamel", "soxr", "tqdm"}


def test_a_camera_has_its_first_result_before_anything_is_loaded_that_it_does_not_need(tmp_path):
    config = tmp_path / "box.yaml"
    config.write_text(
        f"device: box\nstate_dir: {tmp_path}/state\nmodels: {{photos: {{bundle: 'demo:efficientnet-lite0'}}}}\n"
        "cameras: {belt: {path: 'demo:conveyor', model: photos, fps: 15}}\nhttp: {enabled: false}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(config)], check=True, timeout=120, capture_output=True, text=True
    )
    modules = set(done.stdout.split())
    assert ({"cv2", "onnxruntime"} - modules, modules & AFTER_THE_FIRST_RESULT) == (set(), set())


def test_a_file_is_read_without_the_library_that_recalibrates() -> None:
    modules = _modules_after("import calibration.stats.regular_file")
    assert ("calibration" in modules, modules & SLOW) == (True, set())
