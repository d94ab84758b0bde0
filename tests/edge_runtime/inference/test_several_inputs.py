"""Models of signals with several inputs: each input gets its channels, in every format, and misfits are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_runtime.datatypes import Frame
from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import EngineSettings, TensorSpec
from edge_runtime.inference.engines.batches import INPUT_TYPES
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.engines.parts import PartMisfit, make_feed, parts_of
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.specs import find_obstacle_to_recalibration
from tests.support.signal_bundles import signal_model, signal_spec
from tests.support.two_inputs import (
    CONTEXT_WEIGHT,
    INPUTS,
    two_input_files,
    two_input_model,
    two_input_spec,
    two_input_windows,
)

pytestmark = pytest.mark.integration
ALONE = ThreadPlan(1, 1, "test")
SPEC = two_input_spec()
FORMATS = ("onnx", "openvino", "torchscript")


def opened(model_format, spec=SPEC, files=None, **settings):
    files = files or two_input_files(model_format)
    parts = parts_of(spec)
    return open_engine(files, model_format, spec.tensor_shape, ALONE, EngineSettings(**settings), parts)


def prepared(n, seed=3, spec=SPEC):
    prepare = make_preprocessor(spec).prepare
    windows = enumerate(two_input_windows(n, seed))
    return np.stack([prepare(Frame("pump", i, one, 0.0, 0.0)).tensor for i, one in windows])


def expected_of(windows, reduce="last"):
    """By the net of one input and a product."""
    of_vibration = OnnxEngine(signal_model()).infer(np.ascontiguousarray(windows[:, 1:4]))["logits"]
    context = windows[:, [4, 0]]
    context = context[..., -1] if reduce == "last" else context.mean(-1)
    return of_vibration + context @ CONTEXT_WEIGHT.T


@pytest.mark.parametrize("model_format", FORMATS)
def test_each_input_gets_its_channels(model_format):
    engine, windows = opened(model_format), prepared(5)
    assert engine.input.shape == (None, 5, 256)
    np.testing.assert_allclose(engine.infer(windows)["logits"], expected_of(windows), rtol=1e-3, atol=1e-3)
    alone = np.concatenate([engine.infer(one[None])["logits"] for one in windows])
    np.testing.assert_allclose(alone, engine.infer(windows)["logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_axis_is_that_of_all_inputs(runtime, batch):
    files = type(two_input_files("onnx"))(two_input_model(batch=batch))
    engine, windows = opened("onnx", files=files, runtime=runtime), prepared(5)
    assert engine.input.shape[0] == batch
    np.testing.assert_allclose(engine.infer(windows)["logits"], expected_of(windows), rtol=1e-3, atol=1e-3)


def test_openvino_prepares_for_single_windows():
    engine, windows = opened("openvino", max_batch=1), prepared(3)
    assert engine.input.shape == (1, 5, 256)
    np.testing.assert_allclose(engine.infer(windows)["logits"], expected_of(windows), rtol=1e-3, atol=1e-3)


def test_an_input_may_have_samples_before_channels_and_the_mean_of_a_window():
    inputs = [{**INPUTS[0], "layout": "ntc"}, {**INPUTS[1], "reduce": "mean"}]
    spec = two_input_spec(inputs=inputs)
    files = type(two_input_files("onnx"))(two_input_model(layout="ntc"))
    windows = prepared(4)
    found = opened("onnx", spec, files).infer(windows)["logits"]
    np.testing.assert_allclose(found, expected_of(windows, "mean"), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model_format", FORMATS)
@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([INPUTS[0], {**INPUTS[1], "name": "contxt"}], id="a name that the model lacks"),
        pytest.param(
            [INPUTS[0], {**INPUTS[1], "channels": ["load"]}, {"name": "heat", "channels": ["temp"]}],
            id="one too many",
        ),
    ],
)
def test_other_names_than_the_models_are_refused(model_format, inputs):
    with pytest.raises(PartMisfit):
        opened(model_format, two_input_spec(inputs=inputs))


def test_a_model_with_several_inputs_needs_them_named():
    with pytest.raises(EngineError, match="inputs"):
        OnnxEngine(two_input_model())


TENSORS = [TensorSpec("vibration", "float", (None, 3, 256)), TensorSpec("context", "float", (None, 2))]


@pytest.mark.parametrize(
    ("tensor", "key"),
    [
        (TensorSpec("vibration", "float", (None, 3, 128)), "length: 128"),
        (TensorSpec("vibration", "float", (None, 256, 3)), "layout: ntc"),
        (TensorSpec("vibration", "float", (None, 4, 256)), "4 channels"),
        (TensorSpec("vibration", "float", (None, 3)), "layout: nf"),
        (TensorSpec("vibration", "int64", (None, 3, 256)), "float32"),
        (TensorSpec("vibration", "float", (None, 1, 3, 256)), "N, C, T"),
        (TensorSpec("other", "float", (None, 3, 256)), "name other"),
    ],
)
def test_the_key_to_change_is_named(tensor, key):
    with pytest.raises(PartMisfit) as caught:
        make_feed([tensor, TENSORS[1]], parts_of(SPEC))
    assert key in caught.value.fix


@pytest.mark.parametrize("dtype", ["float", "float16", "uint8"])
@pytest.mark.parametrize("layout", ["nct", "ntc"])
def test_each_input_is_contiguous_and_of_its_own_type(dtype, layout):
    spec = two_input_spec(inputs=[{**INPUTS[0], "layout": layout}, INPUTS[1]])
    parts = parts_of(spec)
    feed = make_feed([TensorSpec(part.name, dtype, (None, *part.shape)) for part in parts], parts)
    for array in feed.share_out(prepared(3)).values():
        assert array.flags.c_contiguous
        assert array.dtype == INPUT_TYPES[dtype]


def test_inputs_of_different_fixed_batches_are_refused():
    tensors = [TensorSpec("vibration", "float", (1, 3, 256)), TensorSpec("context", "float", (4, 2))]
    with pytest.raises(PartMisfit):
        make_feed(tensors, parts_of(SPEC))


@given(
    st.permutations(range(5)),
    st.integers(1, 4),
    st.sampled_from(["nct", "ntc"]),
    st.sampled_from(["last", "mean"]),
)
def test_what_is_put_is_taken_again(order, cut, layout, reduce):
    names = [one.name for one in SPEC.channels]
    inputs = [
        {"name": "a", "channels": [names[i] for i in order[:cut]], "layout": layout},
        {"name": "b", "channels": [names[i] for i in order[cut:]], "layout": "nf", "reduce": reduce},
    ]
    parts = parts_of(two_input_spec(inputs=inputs))
    rng, windows = np.random.default_rng(cut), np.zeros((2, 5, 256), np.float32)
    values = {part.name: rng.normal(0, 1, (2, *part.shape)).astype(np.float32) for part in parts}
    for part in parts:
        part.put(values[part.name], windows)
    for part in parts:
        np.testing.assert_array_equal(part.take(windows), values[part.name])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"inputs": INPUTS[:1]}, id="one input"),
        pytest.param({"inputs": [INPUTS[0], {**INPUTS[1], "channels": ["load"]}]}, id="a channel in none"),
        pytest.param({"inputs": [INPUTS[0], {**INPUTS[1], "channels": ["load", "temp", "ax"]}]}, id="in two"),
        pytest.param(
            {"inputs": [INPUTS[0], {**INPUTS[1], "channels": ["load", "temp", "no"]}]}, id="unknown"
        ),
        pytest.param(
            {"inputs": [INPUTS[0], {**INPUTS[1], "channels": ["load", "temp", "temp"]}]}, id="repeated"
        ),
        pytest.param({"inputs": [INPUTS[0], {**INPUTS[1], "name": "vibration"}]}, id="one name"),
        pytest.param({"inputs": [{**INPUTS[0], "reduce": "mean"}, INPUTS[1]]}, id="reduce of nct"),
        pytest.param({"layout": "ntc"}, id="layout of one input"),
    ],
)
def test_inputs_that_do_not_share_out_the_channels_are_refused(changes):
    with pytest.raises(ValidationError):
        two_input_spec(**changes)


def test_only_several_inputs_stand_in_the_way_of_recalibration():
    assert find_obstacle_to_recalibration(signal_spec()) is None
    assert "context" in (find_obstacle_to_recalibration(SPEC) or "")
