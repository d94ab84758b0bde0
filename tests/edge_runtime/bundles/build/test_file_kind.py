"""A model file is named for what it is, whatever it is called, and nothing in it is run."""

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from edge_runtime.bundles.build.file_kind import detect_kind
from edge_runtime.errors import BundleError
from tests.support.bundle_models import small_model
from tests.support.engine_models import SmallNet, torchscript_bytes

pytestmark = pytest.mark.integration


def saved(what: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(what, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.onnx", small_model(), "onnx"),
        ("a.xml", b"<net/>", "openvino"),
        ("a.pt", torchscript_bytes(SmallNet()), "torchscript"),
        ("a.pth", saved({"state_dict": SmallNet().state_dict()}), "checkpoint"),
        ("a.ckpt", saved({"x": torch.zeros(2), "n": [1, "a"]}), "checkpoint"),
        ("a.pth", saved({"state_dict": SmallNet().state_dict()}, pickle_protocol=4), "checkpoint"),
        ("a.pt", saved(SmallNet().state_dict(), _use_new_zipfile_serialization=False), "checkpoint"),
    ],
)
def test_what_bundles_are_made_from_is_recognised(name: str, data: bytes, kind: str) -> None:
    assert detect_kind(Path(name), data) == kind


class Trap:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was run",))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("graph.pb", b"\x0a\x10", "tf2onnx"),
        ("net.safetensors", b"\x08\0\0\0\0\0\0\0{}", "state_dict"),
        ("net.tflite", b"x", "TensorFlow Lite"),
        ("net.pt", small_model(), r"net\.onnx"),
        ("net.onnx", torchscript_bytes(SmallNet()), r"net\.pt"),
        ("net.pt", b"PK\x03\x04junk" * 50, "archive"),
        ("net.pt", b"", "empty"),
        ("net.pt", b"hello world" * 9, "TorchScript.*checkpoint"),
        (
            "net.pt",
            saved(SmallNet()),
            r"pickled objects of class tests.support.engine_models.SmallNet .*name a factory",
        ),
        (
            "net.pt",
            saved({"model": torch.nn.Linear(2, 2)}),
            r"torch\.nn\.modules\.linear",
        ),
        ("net.pt", saved(Trap()), "pickled"),
    ],
)
def test_other_files_are_named_with_what_to_do(name: str, data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        detect_kind(Path(name), data)


def test_new_pickles_are_listed_as_well() -> None:
    data = saved(SmallNet(), pickle_protocol=pickle.HIGHEST_PROTOCOL)
    with pytest.raises(BundleError, match=r"engine_models\.SmallNet"):
        detect_kind(Path("net.pt"), data)
