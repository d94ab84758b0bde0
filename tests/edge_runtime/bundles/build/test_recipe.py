"""Bundles as their authors build them: a recipe, a model of any kind, a folder of pictures."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import orjson
import pytest
import torch
import yaml

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build import from_recipe
from edge_runtime.bundles.build.candidates import ModelCandidate, choose_candidate
from edge_runtime.bundles.build.from_recipe import build_from_recipe
from edge_runtime.bundles.build.recipe_file import QuantizationLimits
from edge_runtime.bundles.build.source_model import FLOAT_PARITY
from edge_runtime.bundles.compare import measure_difference
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.manifest import Measured
from edge_runtime.bundles.self_test import golden_sample, run_one, self_test
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.errors import BundleError, ConfigError
from tests.support.bundle_models import png, small_model
from tests.support.engine_models import SmallNet
from tests.support.fake_engine import FakeEngine
from tests.support.recipe_author import ALONE, PREPROCESS, Author

pytestmark = pytest.mark.integration


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author(tmp_path)


def answers(bundle: Bundle) -> list[dict[str, Any]]:
    engine, spec = open_bundle_engine(bundle, ALONE), bundle.manifest.preprocess
    return [run_one(engine, golden_sample(bundle, golden, spec).tensor) for golden in bundle.manifest.golden]


FORMS = [
    ("checkpoint", "onnx"), ("checkpoint", "openvino"), ("checkpoint", "torchscript"), ("onnx", "onnx"),
    ("onnx", "openvino"), ("openvino", "openvino"), ("torchscript", "torchscript"), ("torchscript", "openvino"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "wanted"), FORMS)
def test_every_kind_of_model_becomes_a_bundle_with_the_net_s_own_answers(
    author: Author, kind: str, wanted: str
) -> None:
    author.model(kind)
    built = author.build(formats=[wanted])
    bundle = load_bundle(built.path)
    assert bundle.manifest.format == built.format == wanted
    assert bundle.id == ("small/3" if kind == "checkpoint" else "small/1")
    assert self_test(bundle, open_bundle_engine(bundle, ALONE)).worst < 1e-4
    assert built.measured[0].infer_ms is not None
    with torch.inference_mode():
        net = SmallNet().eval()
        for golden, found in zip(bundle.manifest.golden, answers(bundle), strict=True):
            x = golden_sample(bundle, golden, bundle.manifest.preprocess).tensor
            expected = net(torch.from_numpy(x[None])).numpy()[0]
            assert measure_difference({"": next(iter(found.values()))}, {"": expected}) < FLOAT_PARITY


@pytest.mark.parametrize("wanted", ["onnx", "openvino"])
def test_int8_is_measured_beside_the_float_model_and_the_figures_are_in_the_manifest(
    author: Author, wanted: str
) -> None:
    author.model("checkpoint")
    author.pictures("cal", range(10, 58))
    built = author.build(formats=[wanted], quantize="int8", calibration="cal", limits={"accuracy_points": 5})
    bundle = load_bundle(built.path)
    [measured] = bundle.manifest.provenance.measured
    assert measured.samples == 16, "every third picture was kept for this"
    assert measured.agreement is not None
    assert measured.agreement > 0.8
    assert measured.estimated_loss is not None
    assert measured.estimated_loss < 0.05
    assert (measured.infer_ms or 0) > 0
    assert (measured.float_infer_ms or 0) > 0
    assert bundle.manifest.calibration.moments is not None
    mark = b"QuantizeLinear" if wanted == "onnx" else b'element_type="i8"'
    assert mark in bundle.model_files.data


def test_accuracy_is_counted_where_there_are_labels(author: Author) -> None:
    author.model("onnx")
    author.pictures("cal", range(10, 40))
    for name in "ab":
        author.pictures(f"labelled/{name}", range(50, 54))
    built = author.build(
        quantize="int8", calibration="cal", labelled="labelled", limits={"accuracy_points": 100}
    )
    assert [m.samples for m in built.measured] == [10, 8]
    assert built.measured[1].accuracy is not None


def test_of_several_formats_one_is_taken_and_all_are_reported(author: Author) -> None:
    author.model("checkpoint")
    built = author.build(formats=["onnx", "openvino", "torchscript"])
    assert set(built.candidates) == {"onnx", "openvino", "torchscript"}
    assert built.format in built.candidates


def test_int8_that_loses_too_much_is_refused_with_its_figures(author: Author) -> None:
    author.model("onnx")
    author.pictures("cal", range(10, 70))
    level = np.full((40, 40, 3), (100, 110, 120), np.uint8)  # prepared it is zero: no activation has a range
    for i, path in enumerate(sorted((author.folder / "cal").iterdir())):
        if i % 3 != 2:  # the third ones are kept for the comparison
            path.write_bytes(png(level))
    with pytest.raises(BundleError, match=r"int8.*quantize: none"):
        author.build(quantize="int8", calibration="cal")
    assert not (author.folder / "bundles").exists()


def int8(model_format: str, loss: float, float_ms: float | None, ms: float | None) -> ModelCandidate:
    measured = Measured(
        on="pictures", samples=30, agreement=0.99, estimated_loss=loss, float_infer_ms=float_ms, infer_ms=ms
    )
    return ModelCandidate(model_format, ModelFiles(b""), FakeEngine(), (measured,))


def test_int8_that_is_slower_than_float_is_refused_with_its_figures() -> None:
    with pytest.raises(BundleError) as refused:
        choose_candidate(
            [int8("onnx", 0.001, 10.0, 35.0), int8("openvino", 0.001, 8.0, 9.5)], QuantizationLimits(), 20
        )
    text = str(refused.value)
    assert "onnx int8" in text
    assert all(figure in text for figure in ("35.0", "10.0"))
    assert "quantize: none" in text
    assert "limits.time_over_float" in text


@pytest.mark.parametrize(
    ("float_ms", "ms", "limits"),
    [
        (10.0, 7.0, QuantizationLimits()),
        (10.0, 10.9, QuantizationLimits()),  # noise
        (0.02, 0.08, QuantizationLimits()),  # less than a call costs by chance
        (10.0, 35.0, QuantizationLimits(time_over_float=4)),  # for another box
        (None, None, QuantizationLimits()),
    ],
)
def test_int8_that_is_not_measurably_slower_is_taken(
    float_ms: float | None, ms: float | None, limits: QuantizationLimits
) -> None:
    one = int8("onnx", 0.001, float_ms, ms)
    assert choose_candidate([one], limits, 20) is one


def test_of_several_formats_those_that_gain_speed_go_before_those_that_lose_less_accuracy() -> None:
    slower, faster = int8("onnx", 0.0, 10.0, 12.0), int8("openvino", 0.009, 9.0, 8.0)
    assert choose_candidate([slower, faster], QuantizationLimits(), 20) is faster


def test_too_few_pictures_to_quantize_with_are_refused(author: Author) -> None:
    author.model("onnx")
    author.pictures("cal", range(10))
    with pytest.raises(BundleError, match=r"\b10\b.*\b24\b"):
        author.build(quantize="int8", calibration="cal")


def test_a_quantized_model_is_not_quantized_again(author: Author) -> None:
    author.model("onnx")
    author.pictures("cal", range(10, 40))
    built = author.build(quantize="int8", calibration="cal", limits={"accuracy_points": 100})
    (author.folder / "int8.onnx").write_bytes((built.path / "model.onnx").read_bytes())
    with pytest.raises(BundleError, match="quantize: none"):
        author.build(model="int8.onnx", version=2, quantize="int8", calibration="cal")
    assert author.build(model="int8.onnx", version=2).format == "onnx"


def test_all_problems_of_a_recipe_are_told_at_once_with_their_lines(author: Author) -> None:
    with pytest.raises(ConfigError) as caught:
        author.build(name="Parts!", quantise="int8", preprocess={**PREPROCESS, "colour": "red"})
    text = str(caught.value)
    assert "line 1: name: 'Parts!'" in text
    assert "'quantise'" in text
    assert "preprocess.colour: 'red'" in text
    assert "model: missing" in text


def test_a_wrong_format_is_one_problem(author: Author) -> None:
    author.model("onnx")
    with pytest.raises(ConfigError, match=r"formats\.0: 'tflite'"):
        author.build(formats=["tflite"])
    with pytest.raises(ConfigError, match="formats"):
        author.build(formats=[])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"quantize": "int8"}, "calibration"),
        ({"quantize": "int8", "calibration": "c", "formats": ["torchscript"]}, "TorchScript"),
        ({"labelled": "l", "postprocess": {"task": "raw"}}, "label"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(author: Author, keys: dict[str, Any], words: str) -> None:
    author.model("onnx")
    with pytest.raises(ConfigError, match=words):
        author.build(**keys)


def test_a_model_instead_of_a_recipe_is_answered_with_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model: net\.onnx"):
        build_from_recipe(tmp_path / "net.onnx", tmp_path, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preprocessing": {**PREPROCESS, "colour": "pink"}}, "preprocessing: colour"),
        ({"preprocessing": None}, "preprocess"),
        ({"version": "v3"}, "'v3'"),
        ({"state_dict": {}}, "weights"),
        ({"state_dict": None}, "state_dict"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    author: Author, change: dict[str, Any], words: str
) -> None:
    author.checkpoint(**change)
    with pytest.raises(BundleError, match=words):
        author.build()


def test_a_recipe_that_contradicts_the_checkpoint_is_refused(author: Author) -> None:
    author.checkpoint()
    with pytest.raises(BundleError, match="mean, std"):
        author.build(preprocess={**PREPROCESS, "mean": [0.0] * 3, "std": [255.0] * 3})


def test_a_checkpoint_runs_nothing_that_is_in_it(author: Author) -> None:
    author.checkpoint(extra=Trap())
    with pytest.raises(BundleError, match="spring"):
        author.build()
    assert not Trap.sprung


class Trap:
    sprung = False

    def __reduce__(self) -> Any:
        return (spring, ())


def spring() -> None:
    Trap.sprung = True


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (None, "factory"),
        ("nowhere:make", "nowhere"),
        ("small_net_factory:other", "'other'"),
    ],
)
def test_a_factory_that_is_not_there_is_named(author: Author, factory: str | None, words: str) -> None:
    author.checkpoint()
    with pytest.raises(BundleError, match=words):
        author.build(factory=factory)


def test_a_factory_for_a_whole_model_is_a_mistake(author: Author) -> None:
    author.model("onnx")
    with pytest.raises(BundleError):
        author.build(factory="small_net_factory:make")


def test_formats_that_a_model_cannot_become_are_refused(author: Author) -> None:
    author.model("openvino")
    with pytest.raises(BundleError, match=r"onnx.*openvino"):
        author.build(formats=["onnx"])


def test_the_command_line_builds_and_tells_machines_what_it_found(author: Author, capsys: Any) -> None:
    from edge_runtime.cli.main import main

    author.model("onnx")
    path = author.folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(author.keys))
    told: list[str] = []
    build_from_recipe(path, author.folder, {"version": 8}, told.append)
    assert tuple(told) == from_recipe.STEPS
    with pytest.raises(SystemExit) as end:
        main(["bundle", "build", str(path), "--out", str(author.folder), "--version", "9", "--json"])
    assert end.value.code == 0
    report = orjson.loads(capsys.readouterr().out)
    assert report["bundle"] == "small/9"
    assert report["candidates"].keys() == {"onnx"}
    assert cv2.imread(str(next((author.folder / "small" / "9" / "golden").glob("*.png")))) is not None


def test_mean_and_deviation_of_another_scale_are_noticed(author: Author) -> None:
    author.model("onnx")
    assert not author.build().notes
    built = author.build(preprocess=PREPROCESS | {"mean": [0.5] * 3, "std": [0.25] * 3}, version=2)
    assert any("255" in note for note in built.notes)


def test_a_build_that_is_refused_at_the_end_leaves_no_folder(author: Author) -> None:
    author.model("onnx")
    with pytest.raises(BundleError):
        author.build(postprocess={"task": "classification", "scores": "probabilities"})
    assert list((author.folder / "bundles").glob("*")) == []


@pytest.mark.parametrize("wanted", ["onnx", "openvino"])
def test_layers_that_are_to_stay_float_are_named_by_patterns(author: Author, wanted: str) -> None:
    author.model("checkpoint")
    author.pictures("cal", range(10, 40))
    keys = {"formats": [wanted], "quantize": "int8", "calibration": "cal", "limits": {"accuracy_points": 100}}
    with pytest.raises(BundleError, match="keep_float: nothing_so"):
        author.build(**keys, keep_float=["nothing_so"])
    built = author.build(**keys, keep_float=[".*"])
    mark = b"QuantizeLinear" if wanted == "onnx" else b'element_type="i8"'
    assert mark not in load_bundle(built.path).model_files.data


def test_a_pattern_that_is_none_is_refused(author: Author) -> None:
    author.model("onnx")
    with pytest.raises(ConfigError):
        author.build(keep_float=["("])


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_an_old_onnx_file_is_brought_to_an_operator_set_that_can_be_recalibrated(
    author: Author, quantize: str
) -> None:
    model = onnx.load_model_from_string(small_model())
    model.opset_import[0].version = 11
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":  # it had no training_mode then
            del node.attribute[:]
    (author.folder / "old.onnx").write_bytes(model.SerializeToString())
    author.pictures("cal", range(10, 40))
    keys = {"calibration": "cal", "limits": {"accuracy_points": 100}, "quantize": quantize}
    bundle = load_bundle(author.build(model="old.onnx", **keys).path)
    assert onnx.load_model_from_string(bundle.model_files.data).opset_import[0].version >= 13


def test_the_common_form_of_a_checkpoint_and_a_bare_state_dict_are_taken(author: Author) -> None:
    author.checkpoint()
    weights = {f"module.{name}": one for name, one in SmallNet().state_dict().items()}
    data = {"model_state_dict": weights, "preprocess_params": PREPROCESS, "version": "1.0.2", "epoch": 9}
    torch.save(data, author.folder / "net.pth")
    built = author.build(formats=["torchscript"])
    assert built.bundle == "small/1000002"
    torch.save(SmallNet().state_dict(), author.folder / "net.pth")
    with pytest.raises(BundleError, match="preprocess"):
        author.build(formats=["torchscript"])
    bare = author.build(formats=["torchscript"], preprocess=PREPROCESS, version=5)
    for one, other in zip(answers(load_bundle(built.path)), answers(load_bundle(bare.path)), strict=True):
        np.testing.assert_array_equal(one["output"], other["output"])


def test_an_int8_model_is_called_one_and_its_quantizer_is_silent(
    author: Author, capfd: Any, caplog: Any
) -> None:
    model = onnx.load_model_from_string(small_model())
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.zeros(3, np.float32), "num_batches_tracked")
    )
    (author.folder / "net.onnx").write_bytes(model.SerializeToString())
    author.pictures("cal", range(10, 40))
    limits = {"accuracy_points": 50, "time_over_float": 99}
    built = author.build(model="net.onnx", quantize="int8", calibration="cal", limits=limits)
    assert built.is_int8
    (author.folder / "given.onnx").write_bytes((built.path / "model.onnx").read_bytes())
    again = author.build(model="given.onnx", version=2)
    assert (again.quantize, again.is_int8) == ("none", True)
    assert not author.build(model="net.onnx", version=3).is_int8
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if "onnxruntime" in record.pathname]


def test_answers_that_int8_spoils_are_not_blamed_on_the_recipe(author: Author, monkeypatch: Any) -> None:
    author.model("onnx")
    author.pictures("cal", range(10, 40))
    real = from_recipe.check_readable
    calls: list[Path] = []

    def check(*given: Any) -> None:
        calls.append(given[3])
        if len(calls) == 2:  # the float model's were read first
            raise BundleError(
                "bundle.yaml", "scores of boxes from 0 to 1.22", "scores from 0 to 1", "Check packing."
            )
        real(*given)

    monkeypatch.setattr(from_recipe, "check_readable", check)
    with pytest.raises(BundleError) as refused:
        author.build(
            quantize="int8", calibration="cal", limits={"accuracy_points": 50, "time_over_float": 99}
        )
    assert refused.value.path == "quantize"
    assert "keep_float" in refused.value.fix
    assert "packing" not in refused.value.fix
