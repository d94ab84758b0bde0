"""Small bundles that are built and spoilt in tests."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.build import Materials, Recipe, build_bundle
from edge_runtime.bundles.self_test import self_test
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.specs import ClassificationSpec, PictureSpec
from tests.support.bundle_models import SIDE, colourful, png

PREPROCESS = PictureSpec(
    colour="rgb",
    width=SIDE,
    height=SIDE,
    geometry="stretch",
    filter="area",
    mean=(120, 110, 100),
    std=(60, 61, 62),
)


GOLDEN = {f"g{i}.png": png(colourful(i)) for i in range(3)}


def recipe(**changes: Any) -> Recipe:
    fields: dict[str, Any] = {
        "name": "small", "version": 1, "preprocess": PREPROCESS,
        "postprocess": ClassificationSpec(scores="logits", top_k=3),
    }  # fmt: skip
    return Recipe(**{**fields, **changes})


def build(folder: Path, model: bytes, golden: dict[str, bytes] = GOLDEN, **changes: Any) -> Path:
    materials = Materials(model=ModelFiles(model), golden=golden, labels=list("abcde"))
    return build_bundle(recipe(**changes), materials, OnnxEngine(model), folder)


def edit(path: Path, change: Any) -> None:
    """Change the manifest's data in place."""
    data = yaml.safe_load((path / "bundle.yaml").read_text())
    change(data)
    (path / "bundle.yaml").write_text(yaml.safe_dump(data))


def replace_file(path: Path, name: str, content: bytes) -> None:
    """Swap a file and its hash, as a careless (or hostile) publisher would."""
    (path / name).write_bytes(content)
    edit(path, lambda data: data["files"].update({name: hashlib.sha256(content).hexdigest()}))


def failure(path: Path) -> str:
    bundle = load_bundle(path)
    with pytest.raises(BundleError) as caught:
        self_test(bundle, OnnxEngine(bundle.model_files.data))
    return str(caught.value)
