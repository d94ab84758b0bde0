from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.build import Materials, build_bundle
from edge_runtime.bundles.build.quantize_onnx import quantize_onnx
from edge_runtime.bundles.self_test import self_test
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from tests.support.bundle_builds import GOLDEN, build, recipe
from tests.support.bundle_models import SIDE, colourful, company_model, external_model, png, small_model


@pytest.mark.parametrize("batch", ["n", 1])
def test_what_was_built_loads_and_passes(tmp_path: Path, batch: int | str) -> None:
    path = build(tmp_path, small_model(batch=batch))
    assert path == tmp_path / "small" / "1"
    bundle = load_bundle(path)
    report = self_test(bundle, OnnxEngine(bundle.model_files.data))
    assert bundle.id == "small/1"
    assert bundle.labels == tuple("abcde")
    assert report.worst < 1e-4
    assert len(report.differences) == 3
    assert (report.batch_difference is None) == (batch == 1)
    assert not list(path.parent.glob(".draft*"))


def test_the_manifest_holds_only_what_differs_from_the_defaults(tmp_path: Path) -> None:
    data = yaml.safe_load((build(tmp_path, small_model()) / "bundle.yaml").read_text())
    assert "alpha_background" not in data["preprocess"]
    assert data["postprocess"] == {"task": "classification", "scores": "logits", "top_k": 3}
    assert 0.02 <= data["tolerance"] <= 0.25


def test_versions_are_never_overwritten(tmp_path: Path) -> None:
    build(tmp_path, small_model())
    with pytest.raises(BundleError, match="version"):
        build(tmp_path, small_model(seed=1))
    build(tmp_path, small_model(seed=1), version=2)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (small_model(training=True), "training"),
        (external_model(), "weights"),
        (b"nonsense", "ONNX"),
    ],
)
def test_models_that_are_not_for_devices_are_refused(tmp_path: Path, model: bytes, words: str) -> None:
    materials = Materials(model=ModelFiles(model), golden=GOLDEN)
    with pytest.raises(BundleError, match=words):
        build_bundle(recipe(), materials, OnnxEngine(small_model()), tmp_path)
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("model", "words"), [(company_model(), "in the batch"), (small_model(dropout=True), "dropout")]
)
def test_models_that_answer_differently_each_time_are_refused(
    tmp_path: Path, model: bytes, words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        build(tmp_path, model, tolerance=0.1)
    assert not (tmp_path / "small").exists(), "nothing half-built is left"


def test_grey_golden_pictures_are_refused_because_they_hide_swapped_channels(tmp_path: Path) -> None:
    grey = {name: png(np.repeat(colourful(i)[..., :1], 3, axis=2)) for i, name in enumerate(GOLDEN)}
    with pytest.raises(BundleError, match="colour bgr"):
        build(tmp_path, small_model(), grey)


def test_a_damaged_golden_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"g0\.png"):
        build(tmp_path, small_model(), {"g0.png": GOLDEN["g0.png"][:-30]})


def folded() -> bytes:
    """The small model without BatchNorm, as the quantizer wants it."""
    model = onnx.load_model_from_string(small_model())
    for node in list(model.graph.node):
        if node.op_type in ("BatchNormalization", "Cast"):
            model.graph.node.remove(node)
    model.graph.node[0].input[0] = "image"
    model.graph.node[1].input[0] = "c"
    model.graph.node[0].input.append("bias")
    model.graph.initializer.append(numpy_helper.from_array(np.linspace(-1, 1, 8).astype(np.float32), "bias"))
    return bytes(model.SerializeToString())


def healthy() -> Any:
    return np.random.default_rng(0).normal(0, 1, (16, 3, SIDE, SIDE)).astype(np.float32)


def test_a_quantized_bundle_carries_its_factory_moments(tmp_path: Path) -> None:
    import calibration

    model = quantize_onnx(folded(), healthy())
    materials = Materials(model=ModelFiles(model), golden=GOLDEN, healthy=healthy())
    bundle = load_bundle(build_bundle(recipe(), materials, OnnxEngine(model), tmp_path))
    assert bundle.manifest.calibration.moments == "moments.safetensors"
    baseline = calibration.Baseline.load(bundle.path / "moments.safetensors")
    assert baseline.healthy_samples is None
    assert baseline.count == 16


def test_quantization_that_cannot_be_recalibrated_names_the_fix(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    source, target = tmp_path / "float.onnx", tmp_path / "dynamic.onnx"
    source.write_bytes(folded())
    quantize_dynamic(source, target)
    with pytest.raises(BundleError, match=r"ConvInteger.*quantize_static"):
        build(tmp_path, target.read_bytes())


def test_one_weight_scale_for_a_whole_layer_can_be_recalibrated(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(quantize_onnx(folded(), healthy()))
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    weights = next(node for node in model.graph.node if conv.input[1] in node.output)
    for tensor in model.graph.initializer:
        if tensor.name in weights.input[1:]:
            one = numpy_helper.to_array(tensor)[0]
            tensor.CopyFrom(numpy_helper.from_array(one, tensor.name))
    del weights.attribute[:]
    data = bytes(model.SerializeToString())
    materials = Materials(model=ModelFiles(data), golden=GOLDEN, healthy=healthy())
    bundle = load_bundle(build_bundle(recipe(), materials, OnnxEngine(data), tmp_path))
    assert bundle.manifest.calibration.moments is not None
