"""What cannot be recalibrated is skipped or refused by name, with what to do."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from calibration.errors import ModelError
from calibration.targets.open import open_onnx
from tests.support.onnx_nets import Net, classifier, pictures, with_batch_norm


def edited(model: bytes, change: object) -> bytes:
    proto = onnx.load_model_from_string(model)
    change(proto)  # type: ignore[operator]
    return bytes(proto.SerializeToString())


def reasons(model: bytes) -> dict[str, str]:
    return {layer.name: layer.reason for layer in open_onnx(model).skipped}


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00" * 100, classifier()[:200]])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"m\.onnx"):
        open_onnx(data, name="m.onnx")


def test_dynamic_quantization_is_refused_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(classifier())
    quantize_dynamic(tmp_path / "m.onnx", tmp_path / "d.onnx")
    with pytest.raises(ModelError, match=r"QDQ.*per_channel=True"):
        open_onnx((tmp_path / "d.onnx").read_bytes())


def test_training_mode_is_refused_by_layer() -> None:
    def train(proto: onnx.ModelProto) -> None:
        node = next(n for n in proto.graph.node if n.op_type == "BatchNormalization")
        node.attribute.append(helper.make_attribute("training_mode", 1))

    with pytest.raises(ModelError, match=r"node_bn0.*model.eval"):
        open_onnx(edited(with_batch_norm(), train))


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    onnx.save(
        onnx.load_model_from_string(classifier()),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    with pytest.raises(ModelError) as caught:
        open_onnx((tmp_path / "m.onnx").read_bytes())
    assert caught.value.layers


def test_several_inputs_are_refused() -> None:
    def second(proto: onnx.ModelProto) -> None:
        proto.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))

    with pytest.raises(ModelError, match="input, mask"):
        open_onnx(edited(classifier(), second))


def test_the_head_is_never_a_tap() -> None:
    target = open_onnx(classifier())
    assert [tap.name for tap in target.taps] == ["conv1", "conv2", "conv3"]
    assert "head" in reasons(classifier())["node_logits"]


def test_weights_of_two_layers_are_skipped_by_name() -> None:
    net = Net()
    x = net.add("Relu", [net.conv("input", "c1", 3, 4)], "r1")
    shared = net.normal("w", 4, 4, 1, 1)
    x = net.add("Relu", [net.add("Conv", [x, shared], "c2")], "r2")
    x = net.add("Relu", [net.add("Conv", [x, shared], "c3")], "r3")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [net.conv(x, "c4", 4, 4)], "p")], "f")
    net.add("Gemm", [x, net.normal("fw", 4, 3)], "logits")
    model = net.model("logits", out=("N", 3))
    assert [tap.name for tap in open_onnx(model).taps] == ["c1", "c4"]
    assert "shared" in reasons(model)["node_c2"]
    assert "shared" in reasons(model)["node_c3"]


def test_a_tap_that_is_an_output_is_skipped() -> None:
    def also(proto: onnx.ModelProto) -> None:
        proto.graph.output.append(helper.make_tensor_value_info("conv2", TensorProto.FLOAT, None))

    model = edited(classifier(), also)
    assert "output" in reasons(model)["node_conv2"]
    assert [tap.name for tap in open_onnx(model).taps] == ["conv1", "conv3"]


def test_weights_that_are_computed_from_the_picture_are_skipped() -> None:
    def computed(proto: onnx.ModelProto) -> None:
        place, node = next((i, n) for i, n in enumerate(proto.graph.node) if n.name == "node_conv2")
        proto.graph.node.insert(place, helper.make_node("Mul", [node.input[1], "light"], ["computed"]))
        proto.graph.node.insert(place, helper.make_node("ReduceMean", ["input"], ["light"], keepdims=0))
        node.input[1] = "computed"

    assert "not constants" in reasons(edited(classifier(), computed))["node_conv2"]


def test_layers_in_control_flow_are_named() -> None:
    def branch(proto: onnx.ModelProto) -> None:
        w = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "inner_w")
        body = helper.make_graph(
            [helper.make_node("Conv", ["input", "inner_w"], ["branch"], name="inner_conv")],
            "body",
            [],
            [helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)],
            [w],
        )
        yes = numpy_helper.from_array(np.asarray(True), "yes")
        proto.graph.initializer.append(yes)
        node = helper.make_node("If", ["yes"], ["chosen"], then_branch=body, else_branch=body)
        for other in proto.graph.node:
            if other.name == "node_conv1":
                other.input[0] = "chosen"
        proto.graph.node.insert(0, node)

    model = edited(classifier(), branch)
    assert "control-flow" in reasons(model)["inner_conv"]
    assert open_onnx(model).observe(pictures(2)).moments["conv1"].channels == 8


def test_weights_in_constant_nodes_are_as_good_as_initializers() -> None:
    def as_nodes(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            proto.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        del proto.graph.initializer[:]

    target = open_onnx(edited(classifier(), as_nodes))
    plain = open_onnx(classifier()).observe(pictures(4)).moments
    for name, moments in target.observe(pictures(4)).moments.items():
        np.testing.assert_allclose(moments.mean, plain[name].mean, rtol=1e-5)


def test_a_batch_size_built_into_the_layers_is_refused_with_the_fix() -> None:
    net = Net()
    x = net.add("Relu", [net.conv("input", "c1", 3, 4)], "r1")
    x = net.add(
        "Expand", [net.conv(x, "c2", 4, 4), net.weight("s", np.asarray([1, 4, 16, 16], np.int64))], "e"
    )
    x = net.add("ReduceMean", [x], "m", axes=[0], keepdims=1)
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "p")], "f")
    net.add("Gemm", [x, net.normal("fw", 4, 3)], "logits")
    target = open_onnx(net.model("logits", (1, 3, 16, 16), (1, 3)))
    with pytest.raises(ModelError) as caught:
        target.observe(pictures(4))
    assert caught.value.expected == "a batch axis that can be freed"


def test_a_model_of_one_convolution_can_still_be_corrected() -> None:
    net = Net()
    net.add("Flatten", [net.add("GlobalAveragePool", [net.conv("input", "c", 3, 4)], "p")], "logits")
    assert [tap.name for tap in open_onnx(net.model("logits", out=("N", 4))).taps] == ["c"]


def test_a_model_without_layers_is_refused() -> None:
    net = Net()
    net.add("Flatten", [net.add("GlobalAveragePool", ["input"], "p")], "logits")
    with pytest.raises(ModelError) as caught:
        open_onnx(net.model("logits", out=("N", 3)))
    assert caught.value.expected == "correctable layers"
