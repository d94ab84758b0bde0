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


def test_a_file_is_read_without_the_library_that_recalibrates() -> None:
    modules = _modules_after("import calibration.stats.regular_file")
    assert ("calibration" in modules, modules & SLOW) == (True, set())
