"""An operator is known by its name and its domain; layers in functions and in control flow."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.onnx.graph import OnnxGraph, parse
from calibration.targets.onnx.taps import find_taps
from calibration.targets.open import open_onnx, open_target
from tests.support.onnx_nets import classifier, pictures, with_batch_norm
from tests.support.openvino_nets import ir_of

pytestmark = pytest.mark.integration
CONVOLUTIONS = ["conv1", "conv2", "conv3"]


def moved(model: bytes, domain: str, *nodes: str, op: str | None = None) -> OnnxGraph:
    """The model with some nodes of another domain."""
    proto = onnx.load_model_from_string(model)
    for node in proto.graph.node:
        if node.name in nodes or node.output[0] in nodes:
            node.domain, node.op_type = domain, op or node.op_type
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    del proto.graph.value_info[:]
    return parse("model", proto.SerializeToString())


def layers(graph: OnnxGraph) -> tuple[list[str], dict[str, str]]:
    taps, skipped = find_taps(graph)
    return [tap.layer_output for tap in taps], {layer.name: layer.reason for layer in skipped}


@pytest.mark.parametrize("domain", ["com.microsoft.nchwc", "com.ms.internal.nhwc"])
@pytest.mark.parametrize("node", ["conv1", "relu1", "conv3", "pooled"])
def test_channels_in_blocks_are_refused(domain: str, node: str) -> None:
    with pytest.raises(ModelError, match="blocks") as caught:
        moved(classifier(), domain, node)
    assert len(caught.value.layers) == 1


FOREIGN = [
    ("pkg", "conv1", None),
    ("pkg", "conv2", None),
    ("pkg", "conv3", None),
    ("com.microsoft", "conv2", "FusedConv"),
    ("com.microsoft", "conv3", "NhwcConv"),
    ("org.example", "conv2", "Conv"),
    ("ai.onnx.ml", "conv3", "Conv"),
    ("ai.onnx.contrib", "conv1", "Conv"),
    ("x", "conv2", "ConvTranspose"),
    ("pkg", "conv3", "MatMul"),
]


@pytest.mark.parametrize(("domain", "node", "op"), FOREIGN)
def test_a_layer_of_another_domain_is_no_tap_and_is_named(domain: str, node: str, op: str | None) -> None:
    taps, skipped = layers(moved(classifier(), domain, node, op=op))
    assert taps == [name for name in CONVOLUTIONS if name != node]
    assert f"{domain}:" in skipped[f"node_{node}"]


@pytest.mark.parametrize("domain", ["ai.onnx", ""])
def test_both_names_of_the_own_domain_are_one(domain: str) -> None:
    proto = onnx.load_model_from_string(classifier())
    for node in proto.graph.node:
        node.domain = domain
    proto.opset_import[0].domain = domain
    assert layers(parse("model", proto.SerializeToString()))[0] == CONVOLUTIONS


def test_a_batch_norm_of_another_domain_is_not_the_tap_of_the_layer_in_front() -> None:
    taps, skipped = layers(moved(with_batch_norm(), "pkg", "bn1"))
    assert taps == ["bn0", "conv1"]
    assert "node_bn1" not in skipped  # nothing says that it has weights


def test_a_reader_of_another_domain_that_holds_weights_keeps_a_layer_from_being_the_head() -> None:
    taps, skipped = layers(moved(classifier(), "pkg", "logits"))
    assert taps == CONVOLUTIONS
    assert "pkg:Gemm" in skipped["node_logits"] or "head" in skipped["node_logits"]


def test_what_the_optimizer_of_onnx_runtime_saves_is_refused_for_recalibration(tmp_path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fast.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(classifier(), options, providers=["CPUExecutionProvider"])
    data = (tmp_path / "fast.onnx").read_bytes()
    if b"nchwc" in data:
        with pytest.raises(ModelError, match="as it was exported"):
            open_onnx(data)
    else:  # a processor without blocked kernels: the file has ONNX's own operators only
        assert open_onnx(data).taps


def cut(make: Callable[[onnx.ModelProto, list[onnx.NodeProto]], None]) -> bytes:
    """The classifier whose nodes from ``conv3`` on are put elsewhere by ``make``."""
    proto = onnx.load_model_from_string(classifier())
    nodes = list(proto.graph.node)
    at = next(i for i, node in enumerate(nodes) if node.name == "node_conv3")
    del proto.graph.node[at:], proto.graph.value_info[:]
    make(proto, nodes[at:])
    return bytes(proto.SerializeToString())


def as_function(proto: onnx.ModelProto, tail: list[onnx.NodeProto]) -> None:
    read = [name for node in tail for name in node.input]
    weights = [tensor.name for tensor in proto.graph.initializer if tensor.name in read]
    given = [tail[0].input[0], *weights]
    body = helper.make_function("pkg", "Tail", given, ["logits"], tail, [helper.make_opsetid("", 17)])
    proto.functions.append(body)
    proto.opset_import.append(helper.make_opsetid("pkg", 1))
    proto.graph.node.append(helper.make_node("Tail", given, ["logits"], domain="pkg", name="tail"))


def in_a_branch(proto: onnx.ModelProto, tail: list[onnx.NodeProto]) -> None:
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    usual = helper.make_graph(tail, "usual", [], [out])
    zeros = numpy_helper.from_array(np.zeros((1, 10), np.float32), "zeros")
    other = helper.make_graph(
        [helper.make_node("Identity", ["zeros"], ["none"])],
        "other",
        [],
        [helper.make_tensor_value_info("none", TensorProto.FLOAT, [1, 10])],
        [zeros],
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(True), "yes"))
    node = helper.make_node("If", ["yes"], ["logits"], then_branch=usual, else_branch=other, name="gate")
    proto.graph.node.append(node)


def test_layers_in_the_functions_of_a_file_are_layers() -> None:
    target = open_onnx(cut(as_function))
    assert [tap.channels for tap in target.taps] == [8, 8, 16]
    assert ["head" in layer.reason for layer in target.skipped] == [True]
    x = pictures(4)
    [expected], [found] = open_onnx(classifier()).runner()(x).values(), target.runner()(x).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    theirs = [tap.mean for tap in open_onnx(classifier()).observe(x).moments.values()]
    for mine, other in zip(target.observe(x).moments.values(), theirs, strict=True):
        np.testing.assert_allclose(mine.mean, other, atol=1e-5)


def test_a_layer_in_front_of_a_branch_that_holds_the_rest_is_no_head() -> None:
    target = open_onnx(cut(in_a_branch))
    assert [tap.name for tap in target.taps] == ["conv1", "conv2"]
    assert {layer.name for layer in target.skipped} == {"node_conv3", "node_logits"}


def test_a_constant_that_a_branch_reads_as_well_is_shared() -> None:
    def branch(proto: onnx.ModelProto, tail: list[onnx.NodeProto]) -> None:
        shared = next(node for node in proto.graph.node if node.name == "node_conv2").input[1]
        tail.insert(0, helper.make_node("ReduceMean", [shared], ["light"], keepdims=0))
        tail[1].input[0] = "lit"
        tail.insert(
            1,
            helper.make_node(
                "Mul", [next(n.output[0] for n in reversed(proto.graph.node)), "light"], ["lit"]
            ),
        )
        in_a_branch(proto, tail)

    target = open_onnx(cut(branch))
    assert [tap.name for tap in target.taps] == ["conv1"]
    assert "shared" in {layer.name: layer.reason for layer in target.skipped}["node_conv2"]


def test_the_same_in_an_openvino_model() -> None:
    def of_the_picture(proto: onnx.ModelProto, tail: list[onnx.NodeProto]) -> None:
        in_a_branch(proto, tail)
        proto.graph.node[-1].input[0] = "is_light"
        proto.graph.node.insert(0, helper.make_node("Greater", ["light", "dark"], ["is_light"]))
        proto.graph.node.insert(0, helper.make_node("ReduceMean", ["input"], ["light"], keepdims=0))
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(-9), "dark"))

    target = open_target(ModelFiles(*ir_of(cut(of_the_picture))))
    assert [tap.channels for tap in target.taps] == [8, 8]
    assert {layer.reason for layer in target.skipped} == {"inside a control-flow body"}
    assert len(target.skipped) == 2
