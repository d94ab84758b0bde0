import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.engines.threads import ThreadPlan
from tests.support.bundle_models import SIDE, external_model, small_model
from tests.support.fake_engine import FakeEngine
from tests.support.waiting import WAIT_S


def samples(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (count, 3, SIDE, SIDE)).astype(np.float32)


def test_describes_itself() -> None:
    engine = OnnxEngine(small_model(), ThreadPlan(1, 1, "test"))
    assert engine.input.name == "image"
    assert engine.input.shape == (None, 3, SIDE, SIDE)
    assert [spec.name for spec in engine.outputs] == ["logits"]
    assert "no spinning" in engine.runs_on
    assert "intra 1" in engine.runs_on


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_gives_the_answers_of_a_dynamic_one(batch: int) -> None:
    expected = OnnxEngine(small_model()).infer(samples(7))["logits"]
    found = OnnxEngine(small_model(batch=batch)).infer(samples(7))["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_uint8_models_get_whole_levels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, SIDE, SIDE)).astype(np.float32)
    expected = OnnxEngine(small_model()).infer(pixels)["logits"]
    found = OnnxEngine(small_model(dtype=TensorProto.UINT8)).infer(pixels + 0.2)["logits"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_one_session_serves_several_threads() -> None:
    engine = OnnxEngine(small_model())
    batch = samples(4)
    expected = engine.infer(batch)["logits"]
    wrong: list[int] = []

    def work(number: int) -> None:
        answers = [engine.infer(batch)["logits"] for _ in range(20)]
        wrong.extend(number for answer in answers if not np.allclose(answer, expected, atol=1e-5))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert wrong == []


@pytest.mark.parametrize("model", [b"", b"not a model", small_model()[:-50]])
def test_what_is_not_a_model_is_refused(model: bytes) -> None:
    with pytest.raises(EngineError):
        OnnxEngine(model)


@pytest.mark.parametrize("shape", [(1, 3, SIDE, SIDE + 1), (3, SIDE, SIDE), (0, 3, SIDE, SIDE)])
def test_a_wrong_shape_is_an_engine_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError):
        OnnxEngine(small_model()).infer(np.zeros(shape, np.float32))


def test_models_with_two_inputs_are_refused() -> None:
    from tests.support.bundle_models import serialized

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("a", "b")]
    model = serialized(
        [helper.make_node("Add", ["a", "b"], ["c"])], [], values,
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, ["n", 3])],
    )  # fmt: skip
    with pytest.raises(EngineError, match=r"\ba\b.*\bb\b"):
        OnnxEngine(model)


def test_a_device_that_is_not_there_is_an_error_that_names_what_is() -> None:
    with pytest.raises(EngineError, match=r"TensorRT, NoSuch .*CPU"):
        OnnxEngine(small_model(), settings=EngineSettings(devices=("TensorRT", "NoSuch")))


def test_a_fall_back_that_is_written_down_is_taken() -> None:
    engine = OnnxEngine(small_model(), settings=EngineSettings(devices=("CUDA", "CPU")))
    assert " CPU, intra 1" in engine.runs_on


def test_pinned_threads_answer_alike() -> None:
    x = samples(2)
    pinned = OnnxEngine(small_model(), ThreadPlan(2, 1, "test"), EngineSettings(pin_threads=True)).infer(x)
    np.testing.assert_allclose(pinned["logits"], OnnxEngine(small_model()).infer(x)["logits"], atol=1e-5)


class _LostDevice:
    """ONNX Runtime's inner session after its device is gone."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, *_: object) -> None:
        raise ort_errors.EPFail("CUDA error: device lost")


def test_a_device_that_is_lost_while_it_runs_is_an_error_and_no_silent_move_to_the_cpu(
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = OnnxEngine(small_model())
    engine._session._sess = _LostDevice(engine._session._sess)
    for _ in range(2):
        with pytest.raises(EngineError):
            engine.infer(samples(1))
    assert capfd.readouterr() == ("", "")


def test_a_closed_engine_says_so() -> None:
    engine = OnnxEngine(small_model())
    engine.warm_up()
    engine.close()
    engine.close()
    with pytest.raises(EngineError):
        engine.infer(samples(1))


def test_fake_engine_fails_as_scripted_and_counts_batches() -> None:
    engine = FakeEngine(failures=1)
    batch = np.ones((2, 3, 8, 8), np.float32)
    with pytest.raises(EngineError):
        engine.infer(batch)
    np.testing.assert_array_equal(engine.infer(batch)["scores"], np.ones((2, 3)))
    assert engine.batch_sizes == [2, 2]
    engine.warm_up()
    engine.close()
    assert (engine.is_warm, engine.is_closed) == (True, True)
    with pytest.raises(EngineError):
        engine.infer(batch)


def test_fake_engine_hangs_until_its_gate_opens() -> None:
    gate = threading.Event()
    engine = FakeEngine(gate=gate)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (engine.infer(np.ones((1, 3, 8, 8), np.float32)), done.set()))
    thread.start()
    assert not done.is_set()
    gate.set()
    thread.join(WAIT_S)
    assert done.is_set()
    with pytest.raises(EngineError):
        FakeEngine(gate=threading.Event(), gate_timeout_s=0.01).infer(np.ones((1, 3, 8, 8), np.float32))


def thread_cpus() -> dict[int, set[int]]:
    found = {}
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            found[int(thread.name)] = os.sched_getaffinity(int(thread.name))
    return found


def test_a_pinned_session_has_its_own_thread_where_the_plan_says() -> None:
    before, cpus = thread_cpus(), sorted(os.sched_getaffinity(0))
    plan = ThreadPlan(2, 1, "test", (cpus[0], cpus[-1]))
    engine = OnnxEngine(small_model(), plan, EngineSettings(pin_threads=True))

    def places() -> list[set[int]]:
        return [places for thread, places in thread_cpus().items() if thread not in before]

    ends_at_s, tick = time.monotonic() + 10, threading.Event()
    while places() != [{cpus[-1]}] and time.monotonic() < ends_at_s:  # a thread binds itself once it runs
        tick.wait(0.01)
    assert places() == [{cpus[-1]}]
    engine.close()


@pytest.mark.parametrize(("intra", "workers", "own"), [(1, 3, 0), (3, 1, 2), (2, 2, 2)])
def test_a_session_has_the_threads_of_the_plan_less_the_callers(intra: int, workers: int, own: int) -> None:
    before = set(thread_cpus())
    engine = OnnxEngine(small_model(), ThreadPlan(intra, workers, "test"))
    assert len(set(thread_cpus()) - before) == own
    engine.close()


@pytest.mark.parametrize("mark", [b"ORTM", b"TFL3", b"GGUF"])
def test_marks_of_other_formats_in_an_onnx_file_mean_nothing(mark: bytes) -> None:
    producer = mark + b"-like"
    model = small_model()
    assert model.startswith(b"\x08\x0a")
    odd = model[:2] + b"\x12" + bytes([len(producer)]) + producer + model[2:]
    assert odd[4:8] == mark
    expected = OnnxEngine(model, ThreadPlan(1, 1, "test")).infer(samples(2))
    found = OnnxEngine(odd, ThreadPlan(1, 1, "test")).infer(samples(2))
    np.testing.assert_array_equal(found["logits"], expected["logits"])


@pytest.mark.parametrize(
    "model", [b"", b"x" * 99, external_model(), small_model()[:-9], small_model() + b"\xff"]
)
def test_models_that_must_not_be_opened_end_in_the_declared_error(model: bytes) -> None:
    with pytest.raises(EngineError):
        OnnxEngine(model, ThreadPlan(1, 1, "test"))
