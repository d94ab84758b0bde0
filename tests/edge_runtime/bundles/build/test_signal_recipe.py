"""Recipes of nets on signals become bundles that verify and answer, from every kind of model."""

from pathlib import Path

import numpy as np
import pytest

from calibration.targets.open import open_target
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.cli.offline import answer_files, verify_bundle
from tests.support.onnx_nets import Net
from tests.support.signal_author import SignalAuthor
from tests.support.signal_bundles import LABELS, machine_windows, signal_model

pytestmark = pytest.mark.integration
KINDS = ("onnx", "openvino", "torchscript", "checkpoint")


def share_right(bundle: Path, folder: Path) -> float:
    """Of the windows in a folder, which are of each class in turn."""
    answers = list(answer_files(bundle, sorted(folder.iterdir())))
    right = [one["top"][0]["label"] == LABELS[i % len(LABELS)] for i, one in enumerate(answers)]
    return float(np.mean(right))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_becomes_a_bundle_that_verifies_and_answers(tmp_path, kind):
    author = SignalAuthor(tmp_path)
    author.model(kind)
    built = author.build()
    assert verify_bundle(built.path)["windows"] == 4
    assert share_right(built.path, author.windows("new", 24, seed=11)) > 0.9
    assert all(golden.window for golden in load_bundle(built.path).manifest.golden)


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_int8_is_measured_and_keeps_the_answers(tmp_path, kind):
    author = SignalAuthor(tmp_path)
    author.model(kind)
    author.windows("calibration", 60, seed=21, suffix=".csv")
    author.windows("labelled", 80, seed=31, by_label=True)
    built = author.build(
        quantize="int8", calibration="calibration", labelled="labelled", limits={"time_over_float": 100.0}
    )
    assert built.is_int8
    [_, labelled] = built.measured
    assert labelled.accuracy > labelled.float_accuracy - 0.02
    assert share_right(built.path, author.windows("new", 40, seed=12)) > 0.9
    assert load_bundle(built.path).manifest.calibration.moments is not None


@pytest.mark.parametrize("length", [256, "time"])
def test_a_net_with_samples_before_channels_is_built_and_can_be_recalibrated(tmp_path, length):
    author = SignalAuthor(tmp_path)
    author.model("onnx")
    (tmp_path / "net.onnx").write_bytes(signal_model(layout="ntc", length=length))
    author.windows("calibration", 32, seed=21)
    preprocess = {**author.keys["preprocess"], "layout": "ntc"}
    built = author.build(calibration="calibration", preprocess=preprocess)
    assert share_right(built.path, author.windows("new", 24, seed=11)) > 0.9
    bundle = load_bundle(built.path)
    assert bundle.manifest.calibration.moments is not None
    assert open_target(bundle.model_files).inspect()["input"]["layout"] == "NTC"


def test_a_net_of_features_takes_windows_of_one_sample(tmp_path):
    net = Net(0)
    net.weight("w", np.eye(4, 3, dtype=np.float32) * 4)
    net.weight("b", np.zeros(4, np.float32))
    net.add("Gemm", ["input", "w", "b"], "logits", transB=1)
    author = SignalAuthor(tmp_path)
    (tmp_path / "net.onnx").write_bytes(net.model("logits", ("N", 3), ("N", 4)))
    preprocess = {**author.keys["preprocess"], "length": 1, "layout": "nf"}
    preprocess.pop("hop", None)
    folder = tmp_path / "features"
    folder.mkdir()
    for i, row in enumerate(np.random.default_rng(0).normal(0, 0.5, (8, 3))):
        np.save(folder / f"{i}.npy", row[None])
    built = author.build(model="net.onnx", preprocess=preprocess, golden="features")
    assert verify_bundle(built.path)["windows"] == 8


def test_windows_that_are_not_normalised_are_noted(tmp_path):
    author = SignalAuthor(tmp_path)
    author.model("onnx")
    channels = [{**one, "std": one["std"] / 100} for one in author.keys["preprocess"]["channels"]]
    built = author.build(preprocess={**author.keys["preprocess"], "channels": channels}, tolerance=0.1)
    assert len(built.notes) == len(channels)


def test_a_record_of_many_windows_is_cut_for_answers_and_calibration(tmp_path):
    author = SignalAuthor(tmp_path)
    author.model("onnx")
    records = tmp_path / "records"
    records.mkdir()
    np.save(records / "day.npy", np.concatenate(machine_windows(40, seed=3)))
    built = author.build(calibration="records")
    answers = list(answer_files(built.path, [records / "day.npy"]))
    assert len(answers) == 40
    assert [one["from_s"] for one in answers[:3]] == [0.0, 2.56, 5.12]
    assert load_bundle(built.path).manifest.calibration.moments is not None


def test_golden_windows_of_csv_become_array_files(tmp_path):
    author = SignalAuthor(tmp_path)
    author.model("onnx")
    author.windows("tables", 4, seed=5, suffix=".csv")
    built = author.build(golden="tables")
    [first, *_] = load_bundle(built.path).manifest.golden
    stored = np.load(built.path / first.input)
    np.testing.assert_allclose(stored, machine_windows(4, seed=5)[0])
