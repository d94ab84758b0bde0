"""Contenders in real processes on a small model; what happens without a GPU."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.performance.gpu.contenders import SAMPLES, Contender
from benchmarks.performance.gpu.trial import NoGpu, Order, main, measure
from edge_runtime.errors import ExitCode
from tests.support.bundle_models import SIDE, small_model

pytestmark = pytest.mark.integration

PLAIN, HALF = Contender("plain", "small.onnx", "onnx"), Contender("half", "small.onnx", "onnx", "f16")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / PLAIN.model).write_bytes(small_model())
    samples = np.random.default_rng(0).normal(size=(3, 3, SIDE, SIDE))
    np.save(tmp_path / SAMPLES, samples.astype(np.float16))
    return tmp_path


def test_a_rehearsal_on_the_cpu_measures_each_batch_and_compares_the_answers(work: Path) -> None:
    found = measure(
        Order(work, "CPU", seconds=0.01, rounds=2, most_s=0.0, contenders=(PLAIN, HALF), batches=(1, 4))
    )
    (first,) = found["rounds"]  # there was no time for a second one
    assert [row["batch"] for row in first["plain"]["batches"]] == [1, 4]
    assert all(row["frames_per_s"] > 0 and row["pss_mib"] > 0 for row in first["plain"]["batches"])
    assert "unavailable" in first["half"]  # ONNX Runtime calculates as the file says
    assert list(found["parity"]) == list(found["cpu"]) == ["plain"]
    assert {one["top1"] for one in found["parity"]["plain"].values()} == {1.0}
    assert max(one["worst"] for one in found["parity"]["plain"].values()) < 1e-5


def test_without_a_contender_that_can_use_the_device_nothing_is_measured(work: Path) -> None:
    order = Order(work, "NoSuchDevice", seconds=0.01, rounds=1, most_s=60.0, contenders=(PLAIN,))
    with pytest.raises(NoGpu, match="NoSuchDevice"):
        measure(order)


def test_without_a_gpu_the_exit_code_says_so_before_anything_is_made(work: Path) -> None:
    folder = work / "made"
    result = CliRunner().invoke(main, ["--work", str(folder)], env={"PATH": str(work)})
    assert result.exit_code == ExitCode.UNAVAILABLE
    assert "--device cpu" in result.output
    assert not folder.exists()


def test_a_machine_with_a_gpu_needs_no_picture_code_no_config_and_no_broker() -> None:
    code = (
        "import sys, benchmarks.performance.gpu.trial, benchmarks.performance.gpu.one_contender\n"
        "import edge_runtime.inference.engines.onnx_engine, edge_runtime.inference.engines.torchscript_engine\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"cv2", "simplejpeg", "yaml", "orjson", "paho", "structlog"} & set(loaded.split())
