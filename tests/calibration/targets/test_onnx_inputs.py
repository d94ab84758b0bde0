"""ONNX models that take their pictures as bytes, as float16 or with the channels last: like the plain one inside."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import calibration
from calibration.errors import ModelError
from calibration.patch import Affine, Patch
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Normalisation
from calibration.targets.open import open_onnx
from tests.support.every_target import full_patch
from tests.support.onnx_nets import Floats, classifier, hazy, pictures

pytestmark = pytest.mark.integration

KINDS = {"float32 NHWC": 1, "uint8 NCHW": 2, "uint8 NHWC": 3, "uint8 NHWC, cast first": 4, "float16 NCHW": 5}


def model_of(kind: str, batch: Any = "N") -> bytes:
    """The plain classifier behind the nodes that bring such pictures to it."""
    proto = onnx.load_model_from_string(classifier(batch=batch))
    graph, is_last, is_bytes = proto.graph, "NHWC" in kind, "uint8" in kind
    types = {"uint8": TensorProto.UINT8, "float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}
    shape = (batch, 16, 16, 3) if is_last else (batch, 3, 16, 16)
    graph.input[0].CopyFrom(helper.make_tensor_value_info("image", types[kind.split(maxsplit=1)[0]], shape))
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if is_last:
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    if "float32" not in kind:
        steps.insert(0 if "cast first" in kind else len(steps), ("Cast", [], {"to": TensorProto.FLOAT}))
    if is_bytes:
        steps += [("Sub", ["middle"], {}), ("Div", ["half"], {})]
        for name, value in (("middle", 127), ("half", 128)):
            graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    source, nodes = "image", []
    for i, (op, others, attributes) in enumerate(steps):
        output = "input" if i == len(steps) - 1 else f"step{i}"
        nodes.append(helper.make_node(op, [source, *others], [output], name=f"step{i}", **attributes))
        source = output
    body = [*nodes, *graph.node]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in body]
    del graph.node[:]
    graph.node.extend(kept)
    inferred = onnx.shape_inference.infer_shapes(proto)  # as exporters write it
    onnx.checker.check_model(inferred, full_check=True)
    return bytes(inferred.SerializeToString())


def samples_of(kind: str, x: Floats) -> Floats:
    """What the daemon hands over for the pictures ``x``: float32 (N, C, H, W), of a model of bytes their levels."""
    return np.rint(x * 128 + 127).clip(0, 255).astype(np.float32) if "uint8" in kind else x


def tolerance_of(kind: str) -> float:
    return 2e-3 if "float16" in kind else 2e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", ["N", 1])
def test_taps_see_what_those_of_the_plain_model_see(kind: str, batch: Any) -> None:
    target, plain, x = open_onnx(model_of(kind, batch)), open_onnx(classifier()), pictures(9)
    assert target.input_shape[1:] == (3, 16, 16)
    assert target.inspect()["input"]["dtype"] == kind.split(maxsplit=1)[0]
    assert target.inspect()["input"]["layout"] == kind.split()[1].rstrip(",")
    given, live = samples_of(kind, x), pictures(9, seed=4)
    healthy, wanted_healthy = target.observe(given).moments, plain.observe(x).moments
    found = target.observe(samples_of(kind, live), Normalisation(healthy, 0.3)).moments
    wanted = plain.observe(live, Normalisation(wanted_healthy, 0.3)).moments
    for tap in plain.taps:
        for one, other in ((healthy, wanted_healthy), (found, wanted)):
            np.testing.assert_allclose(one[tap.name].mean, other[tap.name].mean, atol=tolerance_of(kind))
            np.testing.assert_allclose(one[tap.name].var, other[tap.name].var, atol=tolerance_of(kind))
    [got], [expected] = target.runner()(given).values(), plain.runner()(x).values()
    np.testing.assert_allclose(got, expected, atol=50 * tolerance_of(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_of_input_and_taps_does_what_it_does_to_the_plain_model(kind: str) -> None:
    target, plain, x = open_onnx(model_of(kind)), open_onnx(classifier()), pictures(5)
    seen, healthy = (plain.observe(part).moments for part in (hazy(pictures(9)), pictures(9)))
    taps = full_patch(plain, seen, healthy).taps
    scale, offset = np.float32([0.8, 0.9, 1.1]), np.float32([5.5, -3.25, 2.0])
    if "uint8" not in kind:
        offset = offset / np.float32(128)
    on_input = Affine(scale, offset)
    patch = Patch({INPUT_TAP: on_input, **taps}, target.sha256, "b", "all", 1, 0.0)
    corrected = on_input.apply(samples_of(kind, x))  # not rounded: a float is what the net sees
    prepared = (corrected - 127) / 128 if "uint8" in kind else corrected
    wanted = plain.runner(Patch(taps, plain.sha256, "b", "all", 1, 0.0))(prepared.astype(np.float32))
    for runner in (target.runner(patch), open_onnx(target.patched(patch).data).runner()):
        found = runner(samples_of(kind, x))["logits"]
        np.testing.assert_allclose(found, wanted["logits"], atol=100 * tolerance_of(kind))


def test_a_reader_that_wants_bytes_gets_the_corrected_picture_rounded() -> None:
    proto = onnx.load_model_from_string(model_of("uint8 NCHW"))
    level, cast = numpy_helper.from_array(np.uint8(0), "nothing"), proto.graph.node[0]
    proto.graph.initializer.append(level)
    cast.input[0] = "whole"
    proto.graph.node.insert(0, helper.make_node("Max", ["image", "nothing"], ["whole"]))
    target, x = open_onnx(proto.SerializeToString()), samples_of("uint8", pictures(4))
    affine = Affine(np.float32([0.5, 1.5, 1]), np.float32([3.3, -20, 0]))
    patch = Patch({INPUT_TAP: affine}, target.sha256, "b", "input", 1, 0.0)
    wanted = target.runner()(np.rint(affine.apply(x)).clip(0, 255))["logits"]
    np.testing.assert_allclose(target.runner(patch)(x)["logits"], wanted, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_flow_serves_them(kind: str) -> None:
    model, x = model_of(kind), pictures(128)
    baseline = calibration.profile(model, samples_of(kind, x[:64]))
    verdict = calibration.recalibrate(model, baseline, samples_of(kind, hazy(x[64:], 0.4, 0.5)))
    assert verdict.accepted, verdict.reasons


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_takes_what_the_model_takes(kind: str) -> None:
    from edge_runtime.inference.engines.factory import open_engine
    from edge_runtime.inference.engines.threads import ThreadPlan

    target, x = open_onnx(model_of(kind)), samples_of(kind, pictures(2))
    frames = target.observe(x, frames_of_first=3).frames
    shape = (16, 16, 3) if "NHWC" in kind else (3, 16, 16)
    engine = open_engine(target.probe(2), "onnx", shape, ThreadPlan(1, 1, "probe"))
    given = x[:1].transpose(0, 2, 3, 1) if "NHWC" in kind else x[:1]
    outputs = engine.infer(np.ascontiguousarray(given))
    for tap in target.taps[:2]:
        np.testing.assert_allclose(outputs[f"{tap.name}/mean"][0], frames[tap.name].mean[0], atol=2e-5)


def test_other_types_are_refused() -> None:
    proto = onnx.load_model_from_string(model_of("uint8 NCHW"))
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    with pytest.raises(ModelError, match=r"INT8.*float32.*float16.*uint8"):
        open_onnx(proto.SerializeToString())
