"""On a CPU that cuts sums of int8 products, engines and targets calculate exactly all the same."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import numpy_helper
from openvino import opset13 as ops

from calibration.targets import int8_arithmetic
from calibration.targets.base import ModelFiles
from calibration.targets.onnx.int8_weights import needs_exact_sums
from calibration.targets.open import open_target
from calibration.targets.openvino.int8_weights import needs_float
from edge_runtime.inference.engines.base import Engine, EngineSettings
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.threads import ThreadPlan
from tests.support.bundle_models import SIDE
from tests.support.engine_models import (
    depthwise_files,
    int8_depthwise_files,
    int8_depthwise_ir,
    ir_of,
    pixels,
)

pytestmark = pytest.mark.integration

PLACES = (
    "edge_runtime.inference.engines.onnx_engine",
    "edge_runtime.inference.engines.openvino_engine",
    "calibration.targets.onnx.backend",
    "calibration.targets.openvino.backend",
)
Models = dict[tuple[str, int], ModelFiles]
KEYS = [("onnx", 7), ("onnx", 8), ("openvino", 7), ("openvino", 8)]
EXACT_HERE = [key for key in KEYS if key[1] == 7 or not int8_arithmetic.does_this_cpu_cut()]
"""Models that the usual kernels calculate exactly on this machine: with 7 bits on any."""


@pytest.fixture(scope="module")
def models() -> Models:
    """Built before anything is watched: quantizers open sessions, too."""
    return {
        (kind, bits): int8_depthwise_files(bits) if kind == "onnx" else int8_depthwise_ir(bits)  # type: ignore[arg-type]
        for kind, bits in KEYS
    }


@pytest.fixture
def old_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in PLACES:
        monkeypatch.setattr(f"{place}.does_this_cpu_cut", lambda: True)


@pytest.fixture
def new_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in PLACES:
        monkeypatch.setattr(f"{place}.does_this_cpu_cut", lambda: False)


@pytest.fixture
def onnx_options(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The option of every session that is opened, "" where it is not set."""
    seen: list[str] = []
    session = onnxruntime.InferenceSession

    def opening(model: Any, options: Any = None, **more: Any) -> Any:
        try:
            seen.append(options.get_session_config_entry("session.x64quantprecision"))
        except RuntimeError:  # it is not there
            seen.append("")
        return session(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opening)
    return seen


@pytest.fixture
def openvino_options(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    core = openvino.Core

    class Spy(core):  # type: ignore[misc, valid-type]
        def compile_model(self, model: Any, device: str, options: Any) -> Any:
            seen.append(options.get("LP_TRANSFORMS_MODE", ""))
            return super().compile_model(model, device, options)

    monkeypatch.setattr(openvino, "Core", Spy)
    return seen


def opened(kind: str, model: ModelFiles, **settings: Any) -> Engine:
    return open_engine(model, kind, (3, SIDE, SIDE), ThreadPlan(1, 1, "test"), EngineSettings(**settings))


def answers(engine: Engine) -> np.ndarray:
    return next(iter(engine.infer(pixels(4)).values()))


@pytest.mark.usefixtures("old_cpu")
@pytest.mark.parametrize(("bits", "expected"), [(7, ""), (8, "1")])
def test_onnxruntime_takes_exact_kernels_where_they_are_needed(
    bits: int, expected: str, models: Models, onnx_options: list[str]
) -> None:
    engine = opened("onnx", models["onnx", bits])
    assert onnx_options == [expected]
    assert ("exact int8 kernels" in engine.runs_on) == bool(expected)


@pytest.mark.usefixtures("old_cpu")
@pytest.mark.parametrize(("bits", "expected"), [(7, ""), (8, "NO")])
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_openvino_calculates_in_float_where_it_has_to(
    kind: str, bits: int, expected: str, models: Models, openvino_options: list[str]
) -> None:
    engine = opened(kind, models[kind, bits], runtime="openvino")
    assert openvino_options == [expected]
    assert ("int8 layers in float" in engine.runs_on) == bool(expected)


@pytest.mark.usefixtures("old_cpu")
@pytest.mark.parametrize(
    ("kind", "bits", "expected"),
    [("onnx", 7, ""), ("onnx", 8, "1"), ("openvino", 7, ""), ("openvino", 8, "NO")],
)
def test_a_recalibration_calculates_as_the_daemon_does(
    kind: str, bits: int, expected: str, models: Models, onnx_options: list[str], openvino_options: list[str]
) -> None:
    target = open_target(models[kind, bits])
    assert target.runner()(pixels(2))
    assert set(onnx_options if kind == "onnx" else openvino_options) == {expected}


@pytest.mark.usefixtures("new_cpu")
def test_on_other_cpus_nothing_is_slower(
    models: Models, onnx_options: list[str], openvino_options: list[str]
) -> None:
    assert "exact" not in opened("onnx", models["onnx", 8]).runs_on
    assert "in float" not in opened("openvino", models["openvino", 8]).runs_on
    assert (onnx_options, openvino_options) == ([""], [""])


@pytest.mark.parametrize("key", EXACT_HERE)
def test_the_exact_way_gives_the_same_answers(
    key: tuple[str, int], models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the usual kernels."""
    for place in PLACES:
        monkeypatch.setattr(f"{place}.does_this_cpu_cut", lambda: False)
    expected = answers(opened(key[0], models[key]))
    for place in PLACES:
        monkeypatch.setattr(f"{place}.does_this_cpu_cut", lambda: True)
    found = answers(opened(key[0], models[key]))
    np.testing.assert_allclose(found, expected, atol=0.02 * expected.std())


def test_seven_bits_are_seven_bits_in_every_layer(models: Models) -> None:
    for bits, most in ((7, 64), (8, 127)):
        graph = onnx.load_model_from_string(models["onnx", bits].data).graph
        found = [numpy_helper.to_array(one) for one in graph.initializer]
        weights = [np.abs(one.astype(int)).max() for one in found if one.dtype == np.int8 and one.ndim > 1]
        assert (len(weights), max(weights)) == (5, most)
        assert needs_exact_sums(models["onnx", bits].data) == (bits == 8)
        ir = models["openvino", bits]
        network = openvino.Core().read_model(ir.data, ir.weights)
        constants = [node for node in network.get_ordered_ops() if node.get_type_name() == "Constant"]
        large = [
            node.data
            for node in constants
            if node.get_element_type().get_type_name() == "i8" and node.data.ndim > 1
        ]
        assert len(large) >= 3  # NNCF leaves some float
        assert max(np.abs(one.astype(int)).max() for one in large) in range(most - 1, most + 1)
        assert needs_float(network) == (bits == 8)


@pytest.mark.parametrize(
    ("levels", "reach", "expected"),
    [(255, 1.0, True), (256, 1.0, True), (255, 0.5, False), (128, 1.0, False)],
)
def test_weights_behind_a_fake_quantize_are_measured(levels: int, reach: float, expected: bool) -> None:
    image = ops.parameter([1, 3, 8, 8], np.float32)
    weights = ops.constant(np.linspace(-reach, reach, 24, dtype=np.float32).reshape(8, 3, 1, 1))
    limits = [ops.constant(np.float32(end)) for end in (-1, 1, -1, 1)]
    quantized = ops.fake_quantize(weights, *limits, levels)
    conv = ops.convolution(image, quantized, [1, 1], [0, 0], [0, 0], [1, 1])
    assert needs_float(openvino.Model([conv], [image], "m")) is expected


@pytest.mark.parametrize("files", [lambda: depthwise_files().data])
def test_float_models_need_nothing(files: Any) -> None:
    ir = ir_of(files())
    assert not needs_exact_sums(files())
    assert not needs_float(openvino.Core().read_model(ir.data, ir.weights))
