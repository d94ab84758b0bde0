"""Neither ONNX Runtime nor OpenVINO reports its use, and neither writes into the home directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import DEMO

pytestmark = pytest.mark.integration

MODEL = DEMO / "bundle" / "efficientnet-lite0" / "1" / "model.onnx"
RUNTIME = f"""
from pathlib import Path
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
OnnxEngine(Path({str(MODEL)!r}).read_bytes()).warm_up()
"""
OPENVINO = "from edge_runtime.inference.engines.openvino_engine import OpenVinoEngine"
LIBRARY = f"""
from pathlib import Path
from calibration import open_target
open_target(Path({str(MODEL)!r}).read_bytes()).runner()
"""
OPENVINO_TARGET = "import calibration.targets.openvino.backend"


@pytest.mark.parametrize("code", [RUNTIME, OPENVINO, LIBRARY, OPENVINO_TARGET])
def test_nothing_is_written_into_the_home_directory(code: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []


def test_an_operator_who_wants_the_reports_is_obeyed() -> None:
    code = "import os, edge_runtime, calibration.targets; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, timeout=60, capture_output=True
    )
    assert done.stdout == b"0\n"


@pytest.mark.parametrize("code", ["import calibration.targets", OPENVINO_TARGET])
def test_the_library_leaves_the_modules_of_its_host_alone(code: str) -> None:
    """A notebook that reports for itself, or runs NNCF, still can."""
    check = f"{code}\nimport sys\nassert 'openvino_telemetry' not in sys.modules\nimport openvino_telemetry"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)


def test_a_module_that_the_host_has_imported_stays() -> None:
    check = "assert sys.modules['openvino_telemetry'] is mine"
    code = f"import sys, openvino_telemetry as mine\n{OPENVINO_TARGET}\n{check}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
