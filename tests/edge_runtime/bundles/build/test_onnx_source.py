"""Weights next to an ONNX file are read in, and nothing else is."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from calibration.targets.safe_form.onnx_wire import read_onnx
from edge_runtime.bundles.build.onnx_source import embed_weights
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from tests.support.bundle_models import small_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The small model with its weights in ``net.onnx.data``."""
    model = onnx.load_model_from_string(small_model())
    convert_model_to_external_data(model, location="net.onnx.data", size_threshold=0)
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def pointing(path: Path, **facts: Any) -> bytes:
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        known = {entry.key: entry.value for entry in tensor.external_data}
        del tensor.external_data[:]
        for key, value in {**known, **facts}.items():
            tensor.external_data.add(key=key, value=str(value))
    return bytes(model.SerializeToString())


def test_weights_beside_the_model_are_read_in(path: Path) -> None:
    model = embed_weights(path, path.read_bytes())
    assert not read_onnx(model).external
    x = np.random.default_rng(0).normal(0, 1, (2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(
        OnnxEngine(model).infer(x)["logits"], OnnxEngine(small_model()).infer(x)["logits"]
    )


@pytest.mark.parametrize("location", ["../net.onnx.data", "/etc/passwd", "a/../net.onnx.data", "..", ".", ""])
def test_other_places_are_refused(path: Path, location: str) -> None:
    with pytest.raises(BundleError) as refused:
        embed_weights(path, pointing(path, location=location))
    assert refused.value.found == f"weights in {location!r}"


@pytest.mark.parametrize(
    "facts", [{"offset": -4}, {"offset": 10**9}, {"length": 10**12}, {"length": 3}, {"offset": "x"}]
)
def test_other_sizes_than_the_shape_s_are_refused(path: Path, facts: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"bytes|number"):
        embed_weights(path, pointing(path, **facts))


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "fifo", "folder", "missing"])
def test_what_is_no_plain_file_is_refused(path: Path, kind: str) -> None:
    data, other = path.with_name("net.onnx.data"), path.with_name("other")
    data.rename(other)
    match kind:
        case "symbolic link":
            data.symlink_to(other)
        case "hard link":
            os.link(other, data)
        case "fifo":
            os.mkfifo(data)
        case "folder":
            data.mkdir()
    with pytest.raises(BundleError, match=r"net\.onnx\.data"):
        embed_weights(path, path.read_bytes())


def test_shapes_that_would_fill_the_memory_are_refused_before_anything_is_read(path: Path) -> None:
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20]
    with pytest.raises(BundleError, match="bytes"):
        embed_weights(path, bytes(model.SerializeToString()))
