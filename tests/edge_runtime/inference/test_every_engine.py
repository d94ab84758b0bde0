"""What holds for ONNX Runtime, OpenVINO and torch alike: one model, the same answers, the same errors."""

import os
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from calibration.targets.base import ModelFiles
from edge_runtime.errors import EngineError, EngineMismatch, EngineMissing
from edge_runtime.inference.engines import factory
from edge_runtime.inference.engines.base import Engine, EngineSettings
from edge_runtime.inference.engines.factory import open_engine, place_threads
from edge_runtime.inference.engines.threads import ThreadPlan
from tests.support.bundle_models import SIDE, external_model, small_model
from tests.support.engine_models import (
    FILES,
    SmallNet,
    int8_depthwise_files,
    ir_of,
    onnx_files,
    openvino_files,
    pixels,
    torchscript_bytes,
)
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.integration

SHAPE = (3, SIDE, SIDE)
ONE, TWO = ThreadPlan(1, 1, "test"), ThreadPlan(1, 2, "test")
FORMATS = sorted(FILES)


def opened(model_format: str, threads: ThreadPlan = ONE, **settings: object) -> Engine:
    return open_engine(FILES[model_format](), model_format, SHAPE, threads, EngineSettings(**settings))


def values(engine: Engine, batch: np.ndarray) -> np.ndarray:
    return next(iter(engine.infer(batch).values()))


@pytest.mark.parametrize("model_format", FORMATS)
def test_one_model_gives_the_same_answers_in_every_format(model_format: str) -> None:
    expected = values(opened("onnx"), pixels(5))
    np.testing.assert_allclose(values(opened(model_format), pixels(5)), expected, atol=1e-5)


def test_openvino_runs_onnx_files_when_it_is_asked_to() -> None:
    engine = opened("onnx", runtime="openvino")
    assert engine.runs_on.startswith("openvino ")
    np.testing.assert_allclose(
        engine.infer(pixels(3))["logits"], values(opened("onnx"), pixels(3)), atol=1e-5
    )


@pytest.mark.parametrize("model_format", FORMATS)
def test_says_what_really_runs(model_format: str) -> None:
    engine = opened(model_format)
    library = {"onnx": "onnxruntime", "openvino": "openvino", "torchscript": "torch"}[model_format]
    assert engine.runs_on.startswith(library)
    assert "CPU" in engine.runs_on.upper()
    assert engine.library.name == library
    assert f"{library} {engine.library.version}"[:12] in engine.runs_on
    assert "CPU" in engine.library.devices
    assert engine.input.shape == (None, *SHAPE)
    assert len(engine.outputs) == 1


@pytest.mark.parametrize("model_format", FORMATS)
def test_outputs_of_one_call_survive_the_next(model_format: str) -> None:
    engine = opened(model_format)
    first = values(engine, pixels(2))
    before = first.copy()
    values(engine, pixels(2, seed=1))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("model_format", FORMATS)
def test_several_threads_may_call_at_once(model_format: str) -> None:
    engine = opened(model_format, TWO)
    batches = [pixels(2, seed=i) for i in range(24)]
    alone = [values(engine, batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: values(engine, batch), batches))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("model_format", FORMATS)
def test_a_closed_engine_says_so(model_format: str) -> None:
    engine = opened(model_format)
    engine.close()
    engine.close()
    with pytest.raises(EngineError):
        engine.infer(pixels(1))


@pytest.mark.parametrize("model_format", FORMATS)
def test_a_batch_of_another_shape_is_refused_with_both_shapes(model_format: str) -> None:
    with pytest.raises(EngineError, match=r"\(1, 3, 8, 8\).*32"):
        opened(model_format).infer(np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.parametrize("model_format", FORMATS)
def test_damaged_models_are_engine_errors(model_format: str) -> None:
    files = FILES[model_format]()
    damaged = ModelFiles(files.data[: len(files.data) // 2], files.weights)
    with pytest.raises(EngineError):
        open_engine(damaged, model_format, SHAPE, ONE)


@pytest.mark.parametrize(
    ("model_format", "device"),
    [("onnx", "CUDA"), ("openvino", "NPU"), ("openvino", "AUTO:GPU"), ("torchscript", "CUDA:3")],
)
def test_a_missing_device_is_an_error_unless_a_fall_back_is_written_down(
    model_format: str, device: str
) -> None:
    with pytest.raises(EngineMissing, match=device):
        opened(model_format, devices=(device,))
    assert "CPU" in opened(model_format, devices=(device, "CPU")).runs_on.upper()


@pytest.mark.parametrize("model_format", FORMATS)
@pytest.mark.parametrize("device", ["CUDDA", "QPU"])
def test_a_slip_in_a_device_name_is_refused_with_the_devices_there_are(
    model_format: str, device: str
) -> None:
    with pytest.raises(EngineError) as refused:
        opened(model_format, devices=(device,))
    assert device in str(refused.value)
    assert "CPU" in str(refused.value)


def test_a_runtime_that_cannot_run_the_format_is_named() -> None:
    with pytest.raises(EngineMismatch, match=r"torch.*onnx.*onnxruntime.*openvino"):
        opened("onnx", runtime="torch")


@pytest.mark.parametrize(("model_format", "library"), [("openvino", "openvino"), ("torchscript", "torch")])
def test_a_library_that_is_not_installed_is_named(monkeypatch, model_format: str, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "edge_runtime.inference.engines.openvino_engine", raising=False)
    monkeypatch.delitem(sys.modules, "edge_runtime.inference.engines.torchscript_engine", raising=False)
    with pytest.raises(EngineMissing, match=f"pip install 'edge-runtime\\[{library}\\]'"):
        opened(model_format)


def test_openvino_precision_is_pinned_to_what_was_asked() -> None:
    assert "precision f32" in opened("openvino").runs_on


BFLOAT16 = "edge_runtime.inference.engines.torchscript_engine.does_this_cpu_multiply_bfloat16"


def test_torch_calculates_in_bfloat16_when_it_is_asked_to_and_answers_in_float32(monkeypatch) -> None:
    monkeypatch.setattr(BFLOAT16, lambda: True)
    engine = opened("torchscript", precision="bf16")
    found, exact = values(engine, pixels(3)), values(opened("torchscript"), pixels(3))
    assert "precision bf16" in engine.runs_on
    assert (found.dtype, engine.outputs[0].dtype) == (np.float32, "float32")
    assert not np.array_equal(found, exact)
    np.testing.assert_allclose(found, exact, atol=0.02 * float(np.abs(exact).max()))


@pytest.mark.parametrize("precision", ["f32", "device", "f16"])
def test_torch_calculates_in_float32_on_a_cpu_unless_it_is_asked_for_bfloat16(precision: str) -> None:
    engine = opened("torchscript", precision=precision)
    np.testing.assert_array_equal(values(engine, pixels(3)), values(opened("torchscript"), pixels(3)))
    assert "precision" not in engine.runs_on


def test_torch_stays_with_float32_on_a_cpu_that_would_emulate_bfloat16(monkeypatch) -> None:
    monkeypatch.setattr(BFLOAT16, lambda: False)
    assert "precision" not in opened("torchscript", precision="bf16").runs_on


def test_openvino_keeps_compiled_models_where_it_is_told(tmp_path) -> None:
    opened("openvino", cache_dir=tmp_path)
    assert list(tmp_path.glob("*.blob"))
    np.testing.assert_allclose(
        values(opened("openvino", cache_dir=tmp_path), pixels(2)),
        values(opened("onnx"), pixels(2)),
        atol=1e-5,
    )


def test_openvino_is_compiled_for_single_inputs_where_no_more_will_come() -> None:
    engine = opened("openvino", max_batch=1)
    assert engine.input.shape[0] == 1
    np.testing.assert_allclose(values(engine, pixels(3)), values(opened("onnx"), pixels(3)), atol=1e-5)
    assert opened("openvino", max_batch=4).input.shape[0] is None


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_is_filled_up(batch: int) -> None:
    engine = open_engine(ir_of(small_model(), batch), "openvino", SHAPE, ONE)
    np.testing.assert_allclose(values(engine, pixels(7)), values(opened("onnx"), pixels(7)), atol=1e-5)


def test_openvino_gives_uint8_models_whole_levels() -> None:
    from onnx import TensorProto

    levels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.float32)
    model = ir_of(small_model(dtype=TensorProto.UINT8))
    found = values(open_engine(model, "openvino", SHAPE, ONE), levels + 0.2)
    np.testing.assert_allclose(found, values(opened("onnx"), levels), rtol=1e-4)


def test_a_torchscript_file_saved_in_training_mode_runs_in_evaluation_mode() -> None:
    model = ModelFiles(torchscript_bytes(SmallNet(), is_training=True))
    found = values(open_engine(model, "torchscript", SHAPE, ONE), pixels(4))
    np.testing.assert_allclose(found, values(opened("onnx"), pixels(4)), atol=1e-5)


class _BatchBuiltIn(SmallNet):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image).view(int(image.shape[0]), 5)


def test_a_module_traced_with_its_batch_size_built_in_is_run_one_by_one() -> None:
    model = ModelFiles(torchscript_bytes(_BatchBuiltIn(), traced_with=1))
    engine = open_engine(model, "torchscript", SHAPE, ONE)
    assert engine.input.shape[0] == 1
    np.testing.assert_allclose(values(engine, pixels(3)), values(opened("onnx"), pixels(3)), atol=1e-5)


class _Viewing(SmallNet):
    """A view that only memory in plain order allows."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        plain = image.view(image.shape[0], -1).view(image.shape)
        return torch.relu(self.norm(self.conv(plain))).mean([2, 3]) @ self.fc


def test_a_module_that_needs_plain_memory_order_is_not_put_into_another() -> None:
    engine = open_engine(ModelFiles(torchscript_bytes(_Viewing())), "torchscript", SHAPE, ONE)
    assert "channels last" not in engine.runs_on
    np.testing.assert_allclose(values(engine, pixels(3)), values(opened("onnx"), pixels(3)), atol=1e-5)


class _OrderDependent(torch.nn.Module):
    """Reads memory as it lies: in another order it runs, and answers something else."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.as_strided(image, (image.shape[0], 4), (3 * 32 * 32, 1))


class _OrderDependentInPart(SmallNet):
    """The same for the second of two outputs."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = torch.relu(self.norm(self.conv(image))).mean([2, 3])
        return pooled @ self.fc, torch.as_strided(image, (image.shape[0], 4), (3 * 32 * 32, 1))


@pytest.mark.parametrize("net", [_OrderDependent(), _OrderDependentInPart()])
def test_a_module_that_answers_otherwise_in_another_memory_order_is_not_put_into_it(
    net: torch.nn.Module,
) -> None:
    assert SIDE == 32
    engine = open_engine(ModelFiles(torchscript_bytes(net)), "torchscript", SHAPE, ONE)
    assert engine.runs_on.endswith(", frozen")
    np.testing.assert_array_equal(list(engine.infer(pixels(3)).values())[-1], pixels(3)[:, 0, 0, :4])


def test_a_usual_net_runs_frozen_and_channels_last() -> None:
    assert opened("torchscript").runs_on.endswith(", frozen, channels last")


def test_a_module_that_cannot_be_frozen_is_not_called_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("it sets its own attributes")

    monkeypatch.setattr(torch.jit, "freeze", refuse)
    engine = opened("torchscript")
    assert engine.runs_on.endswith(", intra 1, channels last")
    np.testing.assert_allclose(values(engine, pixels(3)), values(opened("onnx"), pixels(3)), atol=1e-5)


class _Noisy(SmallNet):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.randn_like(self.conv(image).mean([2, 3]))


def test_a_module_that_never_answers_alike_runs_as_it_is() -> None:
    engine = open_engine(ModelFiles(torchscript_bytes(_Noisy())), "torchscript", SHAPE, ONE)
    assert engine.runs_on.endswith(", intra 1")


def test_torch_threads_are_each_engine_s_own() -> None:
    one, two = opened("torchscript"), opened("torchscript", ThreadPlan(2, 1, "test"))
    seen = []

    def run(engine: Engine) -> None:
        engine.infer(pixels(1))
        seen.append(torch.get_num_threads())

    for engine in (two, one, two):
        thread = threading.Thread(target=run, args=(engine,))
        thread.start()
        thread.join()
    assert seen == [2, 1, 2]


def test_onnx_and_ir_name_their_outputs_alike() -> None:
    assert list(opened("openvino").infer(pixels(1))) == list(opened("onnx").infer(pixels(1))) == ["logits"]
    assert onnx_files().weights is None
    assert openvino_files().weights is not None


@pytest.mark.parametrize("model_format", FORMATS)
@pytest.mark.parametrize("plan", [ThreadPlan(2, 1, "test", (0, 1)), ThreadPlan(2, 2, "test", (0, 1), True)])
def test_bound_threads_and_strong_cores_only_change_no_answer(model_format: str, plan: ThreadPlan) -> None:
    bound = opened(model_format, plan, pin_threads=True)
    np.testing.assert_allclose(values(bound, pixels(2)), values(opened(model_format), pixels(2)), atol=1e-5)
    bound.close()


def test_openvino_piles_no_models_onto_one_cpu_when_threads_are_to_be_bound() -> None:
    """It binds every model's threads to the same first CPUs, whatever the plan says: so it must not bind at all."""
    allowed, plan = os.sched_getaffinity(0), ThreadPlan(1, 1, "test", (max(os.sched_getaffinity(0)),))
    engine, seen = opened("openvino", plan, pin_threads=True), set[frozenset[int]]()
    is_over, caller = threading.Event(), queue.SimpleQueue[int]()

    def call() -> None:
        caller.put(threading.get_native_id())
        while not is_over.is_set():
            engine.infer(pixels(8))

    thread = threading.Thread(target=call)
    thread.start()
    thread_id = caller.get(timeout=WAIT_S)
    for _ in range(300):
        seen.add(frozenset(os.sched_getaffinity(thread_id)))
        is_over.wait(0.001)
    is_over.set()
    thread.join()
    assert seen == {frozenset(allowed)}
    assert "not bound" in engine.runs_on


@pytest.mark.parametrize(("runtime", "cpus"), [("auto", (0, 1)), ("openvino", ())])
def test_a_plan_names_cpus_only_where_the_runtime_lets_threads_be_bound(
    runtime: str, cpus: tuple[int, ...]
) -> None:
    plan = place_threads(
        ThreadPlan(1, 2, "two", (0, 1)), "onnx", EngineSettings(runtime=runtime, pin_threads=True)
    )
    assert (plan.intra, plan.workers, plan.cpus) == (1, 2, cpus)
    assert ("OpenVINO" in plan.why) == (cpus == ())


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [
        ("AUTO:-GPU", ["CPU"], "AUTO:-GPU"),
        ("AUTO:-GPU,-NPU", ["CPU", "GPU.0", "GPU.1"], "AUTO:-GPU,-NPU"),
        ("AUTO:GPU,CPU,-NPU", ["CPU", "GPU"], "AUTO:GPU,CPU,-NPU"),
        ("HETERO:GPU.1,CPU", ["CPU", "GPU.0", "GPU.1"], "HETERO:GPU.1,CPU"),
        ("BATCH:CPU(4)", ["CPU"], "BATCH:CPU(4)"),
        ("AUTO", ["CPU"], "AUTO"),
        ("AUTO:-CPU", ["CPU"], None),
        ("AUTO:-GPU", ["GPU.0"], None),
        ("AUTO:GPU,CPU", ["CPU"], None),
        ("MULTI:GPU.1", ["GPU.0", "CPU"], None),
    ],
)
def test_openvino_devices_may_be_left_out_by_name(
    wanted: str, available: list[str], chosen: str | None
) -> None:
    from edge_runtime.inference.engines.openvino_engine import choose_device

    if chosen is not None:
        assert choose_device([wanted], available) == chosen
        return
    with pytest.raises(EngineError):
        choose_device([wanted], available)


@pytest.mark.parametrize("device", ["CPU", "AUTO", "AUTO:-GPU", "MULTI:CPU", "HETERO:CPU", "BATCH:CPU(2)"])
@pytest.mark.parametrize("plan", [ONE, TWO])
def test_openvino_keeps_the_plan_on_the_cpu_whatever_its_device_is_called(
    device: str, plan: ThreadPlan
) -> None:
    engine = opened("openvino", plan, devices=(device,), max_batch=1)
    at_once = ", 2 at once" if plan is TWO else ""
    assert engine.runs_on.endswith(f" CPU, precision f32, streams 1, threads 1{at_once}")
    np.testing.assert_allclose(values(engine, pixels(3)), values(opened("onnx"), pixels(3)), atol=1e-5)
    engine.close()


def test_openvino_answers_int8_rightly_with_several_calls_at_once() -> None:
    """With several streams 2026.4 gets depthwise int8 layers wrong, in some compilations or in all."""
    files = int8_depthwise_files()
    alone = values(open_engine(files, "onnx", SHAPE, ONE, EngineSettings(runtime="openvino")), pixels(4))
    for _ in range(6):
        engine = open_engine(files, "onnx", SHAPE, TWO, EngineSettings(runtime="openvino"))
        for _ in range(2):  # both calls in turn
            np.testing.assert_allclose(values(engine, pixels(4)), alone, atol=1e-5)
        engine.close()


@pytest.mark.parametrize("mark", [b"ORTM", b"TFL3"])
def test_openvino_reads_onnx_with_its_reader_of_onnx_only(mark: bytes) -> None:
    producer, model = mark + b"-like", small_model()
    odd = ModelFiles(model[:2] + b"\x12" + bytes([len(producer)]) + producer + model[2:])
    engines = [
        open_engine(one, "onnx", SHAPE, ONE, EngineSettings(runtime="openvino"))
        for one in (ModelFiles(model), odd)
    ]
    answers = [engine.infer(pixels(1))["logits"] for engine in engines]
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_no_engine_opens_a_model_with_weights_elsewhere(runtime: str) -> None:
    with pytest.raises(EngineError, match="another file"):
        open_engine(ModelFiles(external_model()), "onnx", SHAPE, ONE, EngineSettings(runtime=runtime))


@pytest.mark.parametrize(
    "error", [ImportError("version `GLIBC_9.9' not found"), OSError("libgomp.so.1: not there")]
)
def test_a_library_that_cannot_be_loaded_is_as_good_as_none(monkeypatch, error: Exception) -> None:
    def refuse(_: str) -> None:
        raise error

    monkeypatch.setattr(factory.importlib, "import_module", refuse)
    with pytest.raises(EngineMissing, match=str(error).split()[-1]):
        opened("onnx")
