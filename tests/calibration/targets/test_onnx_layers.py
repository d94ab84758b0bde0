"""Every layer with weights is a tap or is named with a reason; less common int8 layers take a correction too."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from calibration.errors import ModelError
from calibration.patch import Affine, Patch
from calibration.targets.base import Normalisation, PatchedModel
from calibration.targets.onnx.graph import OnnxGraph, parse, subgraphs
from calibration.targets.onnx.taps import find_taps
from calibration.targets.open import open_onnx
from tests.support.every_target import full_patch, reopened
from tests.support.onnx_nets import (
    FLOAT_NETS,
    Net,
    classifier,
    hazy,
    mlp,
    one_and_three_dimensions,
    pictures,
    quantized,
)

pytestmark = pytest.mark.integration

LAYERS = ("Conv", "ConvTranspose", "Gemm", "LSTM", "GRU", "RNN", "Einsum", "MatMul")


def vectors(n: int) -> np.ndarray:
    return pictures(n)[:, :, 3, 3]


def weighted(nodes: list[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        if node.op_type in LAYERS:
            yield node.name or node.output[0]
        for body in subgraphs(node):
            yield from weighted(list(body.node))


def known(graph: OnnxGraph) -> set[str]:
    """Layers that are a tap, feed one (a convolution before its BatchNormalization), or are skipped with a reason."""
    found, skipped = find_taps(graph)
    taps = {tap.node for tap in found}
    nodes = {(n.name or n.output[0]): n for n in graph.nodes}
    norms = [nodes[tap] for tap in taps if nodes[tap].op_type == "BatchNormalization"]
    feeding = {graph.producers[norm.input[0]].name for norm in norms}
    assert all(layer.reason for layer in skipped)
    return taps | feeding | {layer.name for layer in skipped}


def odd_net() -> bytes:
    """Residual, a layer in a branch, a recurrent one, weights on the left, an Einsum, a product without bias."""
    net = Net(6)
    x = net.add("Relu", [net.conv("input", "c1", 3, 4)], "r1")
    x = net.add("Add", [net.conv(x, "c2", 4, 4), x], "residual")
    inner = helper.make_node("Conv", [x, "inner_w"], ["branch"], name="inner")
    body = helper.make_graph(
        [inner], "body", [], [helper.make_tensor_value_info("branch", 1, None)],
        [numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "inner_w")],
    )  # fmt: skip
    yes = net.weight("yes", np.asarray(True))
    x = net.add("If", [yes], "chosen", then_branch=body, else_branch=body)
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "gap")], "flat")
    x = net.add("MatMul", [x, net.normal("w1", 4, 6)], "product")
    x = net.add(
        "Einsum", [net.add("Relu", [x], "r3"), net.normal("w2", 6, 5)], "einsum", equation="nc,cd->nd"
    )
    steps = net.add("Unsqueeze", [x, net.weight("first", np.asarray([0]))], "steps")
    lstm = [steps, net.normal("lw", 1, 16, 5), net.normal("lr", 1, 16, 4)]
    net.add("LSTM", lstm, "sequence", hidden_size=4)
    x = net.add("Reshape", ["sequence", net.weight("shape", np.asarray([-1, 4, 1]))], "columns")
    x = net.add("MatMul", [net.normal("left", 3, 4), x], "turned")
    x = net.add("Flatten", [x], "flat2")
    net.add("Gemm", [x, net.normal("fw", 3, 4)], "logits")
    return net.model("logits", out=("N", 4))


NETS = {name: make for name, (make, _) in FLOAT_NETS.items()} | {
    "odd": odd_net,
    "1d": lambda: one_and_three_dimensions(1),
}


@pytest.mark.parametrize("name", NETS)
def test_no_layer_with_weights_is_missing(name: str) -> None:
    graph = parse("m", NETS[name]())
    assert set(weighted(graph.nodes)) <= known(graph)


@pytest.mark.parametrize("per_channel", [True, False])
def test_no_layer_of_a_quantized_net_is_missing(tmp_path: Path, per_channel: bool) -> None:
    graph = parse("m", quantized(classifier(), tmp_path, per_channel=per_channel))
    assert set(weighted(graph.nodes)) <= known(graph)


def test_layers_of_the_odd_net_have_reasons_of_their_own() -> None:
    reasons = {layer.name: layer.reason for layer in open_onnx(odd_net()).skipped}
    assert "control-flow" in reasons["inner"]
    assert "LSTM" in reasons["node_sequence"]
    assert "Einsum" in reasons["node_einsum"]
    assert "left" in reasons["node_turned"]
    assert "bias" in reasons["node_product"]


def restored(model: bytes, x: np.ndarray) -> tuple[PatchedModel, float, float]:
    """The patched model, and how far the taps' means are off before and after, in healthy spreads."""
    target = open_onnx(model)
    healthy, drifted = target.observe(x).moments, hazy(x, 0.6, 0.2)
    patch = full_patch(target, target.observe(drifted, Normalisation(healthy)).moments, healthy)
    done = target.patched(patch)
    again = reopened(done)
    found = []
    for one in (target, again):
        seen = one.observe(drifted).moments
        off = [
            np.abs(seen[t.name].mean - healthy[t.name].mean) / np.sqrt(healthy[t.name].var)
            for t in target.taps
        ]
        found.append(float(np.concatenate(off).mean()))
    return done, found[0], found[1]


def test_one_scale_for_a_whole_layer_takes_a_correction_per_channel(tmp_path: Path) -> None:
    model = quantized(classifier(), tmp_path, per_channel=False)
    done, before, after = restored(model, pictures(8))
    assert [tap.kind for tap in reopened(done).taps] == ["Conv int8"] * 3
    assert after < min(0.1, 0.4 * before)
    was, now = parse("m", model), parse("m", done.data)
    for name in (n for n in was.constants if n.endswith("_w_quantized")):
        assert (was.array(name) == now.array(name)).all()


def test_spreading_a_scale_changes_no_answer_of_the_other_channels(tmp_path: Path) -> None:
    """One channel is corrected by next to nothing: the optimized int8 kernels must give the same answers."""
    model = quantized(classifier(), tmp_path, per_channel=False)
    target, x = open_onnx(model), pictures(8)
    scale = np.ones(8, np.float32)
    scale[2] = np.float32(1 + 1e-6)
    patch = Patch(
        {target.taps[0].name: Affine(scale, np.zeros(8, np.float32))}, target.sha256, "", "x", 1, 0.0
    )
    np.testing.assert_array_equal(target.runner(patch)(x)["logits"], target.runner()(x)["logits"])


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_product_and_a_sum_quantized_apart_are_one_layer(tmp_path: Path, per_channel: bool) -> None:
    model = quantized(mlp(), tmp_path, vectors(32), per_channel=per_channel)
    taps = open_onnx(model).taps
    done, before, after = restored(model, vectors(64))
    assert [tap.kind for tap in taps] == ["MatMul int8", "Gemm int8"]
    assert reopened(done).taps == taps
    assert after < min(0.15, 0.4 * before)


def test_dead_channels_are_counted_by_layer(tmp_path: Path) -> None:
    graph = parse("m", classifier())
    weight = graph.array("conv2_w").copy()
    weight[[1, 5]] = 0
    graph.set_array("conv2_w", weight)
    model = bytes(graph.model.SerializeToString())
    for form in (model, quantized(model, tmp_path)):
        dead = {tap["name"]: tap["dead_channels"] for tap in open_onnx(form).inspect()["taps"]}
        assert list(dead.values()) == [0, 2, 0]


def float_net(opset: int) -> bytes:
    """A net whose making runs nothing, at any opset."""
    proto = onnx.load_model_from_string(classifier())
    proto.opset_import[0].version = opset
    return bytes(proto.SerializeToString())


def newest_opset() -> int:
    """The newest that both installed libraries know; what ONNX Runtime does not know is an error of ours."""
    for opset in range(onnx.defs.onnx_opset_version(), 13, -1):
        try:
            open_onnx(float_net(opset)).runner()
        except ModelError:
            continue
        return opset
    raise AssertionError("no opset")


def test_the_newest_opset_that_is_installed_works() -> None:
    opset = newest_opset()
    assert opset >= 22
    _, before, after = restored(float_net(opset), pictures(8))
    assert after < 0.1 * before


def test_half_precision_inside_is_refused_with_the_reason() -> None:
    net = Net()
    x = net.add("Cast", ["input"], "half", to=onnx.TensorProto.FLOAT16)
    weight = net.weight("w", np.ones((4, 3, 3, 3), np.float16))
    x = net.add("Cast", [net.add("Conv", [x, weight], "c1")], "single", to=onnx.TensorProto.FLOAT)
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "gap")], "flat")
    net.add("Gemm", [x, net.normal("fw", 4, 4)], "logits")
    with pytest.raises(ModelError, match=r"float16.*float32 constants"):
        open_onnx(net.model("logits", out=("N", 4)))


def shared_through_identity() -> bytes:
    """As PyTorch's older exporter writes equal parameters: one initializer, and an Identity for the other layer."""
    net = Net(9)
    x = net.add("Relu", [net.conv("input", "c1", 3, 4)], "r1")
    bias = net.add("Identity", ["c1_b"], "c2_b")
    weights = net.add("Identity", [net.normal("w", 4, 4, 3, 3, scale=0.2)], "c2_w")
    x = net.add("Relu", [net.add("Conv", [x, weights, bias], "c2")], "r2")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "gap")], "flat")
    net.add("Gemm", [x, net.normal("fw", 4, 4)], "logits")
    return net.model("logits", out=("N", 4))


def test_parameters_read_through_an_identity_are_constants_of_each_layer() -> None:
    model, x = shared_through_identity(), pictures(4)
    target = open_onnx(model)
    assert [tap.name for tap in target.taps] == ["c1", "c2"]
    scale, offset = np.array([1, 2, 0.5, 1.5], np.float32), np.array([0, 1, -1, 0.25], np.float32)
    done = target.patched(Patch({"c2": Affine(scale, offset)}, target.sha256, "b", "all", 1, 0.0))
    before, after = (outputs_of(data, x, ["c1", "c2"]) for data in (model, done.data))
    np.testing.assert_array_equal(after["c1"], before["c1"])
    wanted = before["c2"] * scale[:, None, None] + offset[:, None, None]
    np.testing.assert_allclose(after["c2"], wanted, rtol=1e-5, atol=1e-5)


def outputs_of(model: bytes, x: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    proto = onnx.load_model_from_string(model)
    proto.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    found = onnxruntime.InferenceSession(proto.SerializeToString()).run(names, {"input": x})
    return dict(zip(names, map(np.asarray, found), strict=True))
