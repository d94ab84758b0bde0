"""Models as they come: other inputs and outputs than the textbook's, conversions that fail, and what is said then."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.self_test import self_test
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.offline import calibrate_bundle
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.threads import ThreadPlan
from tests.support.bundle_models import SIDE, serialized, small_model
from tests.support.engine_models import SmallNet, torchscript_bytes
from tests.support.recipe_author import PREPROCESS, Author

pytestmark = pytest.mark.integration

ALONE = ThreadPlan(1, 1, "test")
LEVELS = {**PREPROCESS, "mean": [0.0] * 3, "std": [1.0] * 3}
RAW = {"postprocess": {"task": "raw"}, "labels": None}


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author(tmp_path)


def built(author: Author, model: bytes, name: str = "net.onnx", **keys: Any) -> Any:
    (author.folder / name).write_bytes(model)
    found = author.build(model=name, **{key: value for key, value in keys.items() if value is not None})
    bundle = load_bundle(found.path)
    assert self_test(bundle, open_bundle_engine(bundle, ALONE)).worst < 1e-3
    return found


def changed(*nodes: Any, outputs: list[Any], drop: bool = False) -> bytes:
    """The small model with nodes and outputs behind its logits."""
    model = onnx.load_model_from_string(small_model())
    model.graph.node.extend(nodes)
    if drop:
        del model.graph.output[:]
    model.graph.output.extend(outputs)
    return bytes(model.SerializeToString())


def channels_last(dtype: int = TensorProto.FLOAT) -> bytes:
    model = onnx.load_model_from_string(small_model(dtype=dtype))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", dtype, ["n", SIDE, SIDE, 3]))
    model.graph.node[0].input[0] = "planes"
    model.graph.node.insert(0, helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]))
    return bytes(model.SerializeToString())


def nothing_correctable() -> bytes:
    return serialized(
        [helper.make_node("GlobalMaxPool", ["image"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])], [],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
    )  # fmt: skip


class Turned(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = SmallNet()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image.permute(0, 3, 1, 2))


NHWC = {**PREPROCESS, "layout": "nhwc"}


def test_a_model_that_cannot_be_recalibrated_is_built_without_moments_and_says_so(author: Author) -> None:
    author.pictures("cal", range(10, 16))
    found = built(author, nothing_correctable(), "net.onnx", calibration="cal", **RAW)
    hints = load_bundle(found.path).manifest.calibration
    assert hints.moments is None
    assert hints.no_moments
    assert [hints.no_moments in note for note in found.notes] == [True]


@pytest.mark.parametrize(
    ("name", "model", "keys"),
    [
        ("net.onnx", channels_last(), {"preprocess": NHWC}),
        ("net.pt", torchscript_bytes(Turned()), {"preprocess": NHWC}),
        ("net.onnx", small_model(dtype=TensorProto.UINT8), {"preprocess": LEVELS}),
        ("net.onnx", small_model(dtype=TensorProto.FLOAT16), {}),
    ],
)
def test_bytes_half_floats_and_channels_last_have_moments_as_others(
    author: Author, name: str, model: bytes, keys: dict[str, Any]
) -> None:
    author.pictures("cal", range(10, 16))
    found = built(author, model, name, calibration="cal", **keys)
    assert load_bundle(found.path).manifest.calibration.moments is not None
    assert not found.notes


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        (channels_last(), NHWC),
        (small_model(dtype=TensorProto.UINT8), LEVELS),
        (small_model(dtype=10), PREPROCESS),
    ],
)
def test_other_inputs_can_be_quantized(author: Author, model: bytes, spec: dict[str, Any]) -> None:
    author.pictures("cal", range(10, 58))
    found = built(
        author,
        model,
        preprocess=spec,
        calibration="cal",
        quantize="int8",
        limits={"accuracy_points": 100, "time_over_float": 100},
    )
    assert b"QuantizeLinear" in load_bundle(found.path).model_files.data


def test_a_channels_last_model_is_recalibrated_from_folders(author: Author) -> None:
    author.pictures("healthy", range(10, 26))
    author.pictures("now", range(30, 46))
    path = built(author, channels_last(), preprocess=NHWC).path
    healthy, now = author.folder / "healthy", author.folder / "now"
    report = calibrate_bundle(path, healthy, None, now, None, seed=0)
    assert report["lines"][0] == "baseline of 16 healthy pictures"
    assert report["frames"]["given"] == 16
    assert report["drift"]["input"] < 1


def test_weights_among_the_inputs_are_weights(author: Author) -> None:
    model = onnx.load_model_from_string(small_model())
    model.ir_version = 3
    model.opset_import[0].version = 11
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            del node.attribute[:]
    weights = [
        helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        for tensor in model.graph.initializer
    ]
    image = model.graph.input[0]
    del model.graph.input[:]
    model.graph.input.extend([*weights, image])
    author.pictures("cal", range(10, 58))
    keys = {"calibration": "cal", "limits": {"accuracy_points": 100, "time_over_float": 100}}
    for version, quantize in enumerate(("none", "int8"), start=1):
        found = built(author, bytes(model.SerializeToString()), quantize=quantize, version=version, **keys)
        assert load_bundle(found.path).manifest.calibration.moments is not None


def test_an_output_of_one_number_a_picture(author: Author) -> None:
    largest = helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0)
    output = helper.make_tensor_value_info("best", TensorProto.INT64, ["n"])
    built(author, changed(largest, outputs=[output], drop=True), **RAW)


def test_text_as_an_output_is_refused(author: Author) -> None:
    names = helper.make_node(
        "Constant", [], ["names"], value=numpy_helper.from_array(np.array(list("abcde"), object))
    )
    best = helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0)
    name = helper.make_node("Gather", ["names", "best"], ["name"])
    output = helper.make_tensor_value_info("name", TensorProto.STRING, ["n"])
    with pytest.raises(BundleError, match=r"name.*labels"):
        built(author, changed(names, best, name, outputs=[output]), **RAW)


def test_a_format_that_fails_is_left_out_and_named(author: Author) -> None:
    class Chosen(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.head = SmallNet(), "plain"

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            scores = self.net(image)
            if self.head == "softmax":
                scores = scores.softmax(1)
            return {"scores": scores}

    model = torchscript_bytes(Chosen())  # scripted: OpenVINO's front end knows no texts
    author.keys["postprocess"]["output"] = "scores"
    found = built(author, model, "net.pt", formats=["openvino", "torchscript"])
    assert found.format == "torchscript"
    assert found.candidates["openvino"].startswith("left out: ")
    with pytest.raises(BundleError) as caught:
        built(author, model, "net.pt", formats=["openvino"], version=2)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_when_no_format_is_left_each_reason_is_one_line(author: Author) -> None:
    author.model("onnx")
    author.pictures("cal", range(10, 40))
    with pytest.raises(BundleError, match=r"onnx: .*openvino: "):
        author.build(
            formats=["onnx", "openvino"], quantize="int8", calibration="cal", keep_float=["nothing_so"]
        )


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("two", "TypeError.*'y'"),
        ("half", r"net\.float\(\)"),
        ("grey", "channels.*colour"),
    ],
)
def test_a_net_that_does_not_take_the_pictures_is_refused(author: Author, function: str, words: str) -> None:
    author.checkpoint()
    (author.folder / "odd_factory.py").write_text(
        "import torch\n"
        "from tests.support.engine_models import SmallNet\n"
        "class Two(SmallNet):\n"
        "    def forward(self, x, y):\n"
        "        return super().forward(x + y)\n"
        "def two(): return Two()\n"
        "def half(): return SmallNet().half()\n"
        "class Grey(SmallNet):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x[:, :1])\n"
        "def grey(): return Grey()\n"
    )
    with pytest.raises(BundleError, match=words):
        author.build(factory=f"odd_factory:{function}")


@pytest.mark.parametrize(
    ("model", "keys", "words"),
    [
        (small_model(), {"preprocess": {**PREPROCESS, "width": 40}}, r"net\.onnx"),
        (channels_last(), {}, "layout: nhwc"),
        (small_model(dtype=TensorProto.DOUBLE), {}, "image.*double.*float32"),
        (small_model(), {"labels": ["a", "b"]}, "^labels: 2.*5"),
        (
            small_model(),
            {"postprocess": {"task": "classification", "scores": "probabilities"}},
            r"net\.onnx: postp",
        ),
        (small_model(dropout=True), {}, "deterministic"),
        (b"nonsense" * 9, {}, r"net\.onnx"),
    ],
)
def test_what_is_wrong_with_a_model_names_the_author_s_file_or_key(
    author: Author, model: bytes, keys: dict[str, Any], words: str
) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        built(author, model, **keys)
    assert ".draft" not in str(caught.value)
    assert caught.value.exit_code == 65


def test_weights_in_a_file_beside_the_model_are_read_in(author: Author) -> None:
    model = onnx.load_model_from_string(small_model())
    onnx.external_data_helper.convert_model_to_external_data(model, location="net.data", size_threshold=0)
    onnx.save(model, author.folder / "outside.onnx")
    built(author, (author.folder / "outside.onnx").read_bytes())
    (author.folder / "net.data").unlink()
    with pytest.raises(BundleError, match=r"net\.data"):
        author.build(model="outside.onnx", version=2)


def test_a_net_with_branches_becomes_what_it_can_and_prints_no_graphs(author: Author, capfd: Any) -> None:
    author.checkpoint()
    (author.folder / "branching_factory.py").write_text(
        "from tests.support.engine_models import SmallNet\n"
        "class Branching(SmallNet):\n"
        "    def forward(self, image):\n"
        "        pooled = super().forward(image)\n"
        "        return pooled * 2 if pooled.sum() > 1e6 else pooled\n"
        "def make(): return Branching()\n"
    )
    found = author.build(factory="branching_factory:make", formats=["onnx", "torchscript"])
    assert found.format == "torchscript"
    assert "data-dependent" in found.candidates["onnx"]
    assert "def forward" not in "".join(capfd.readouterr())
