"""From a file to the right target, and a patched model back to the disk."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import calibration
from calibration.cli.main import cli
from calibration.errors import ModelError
from calibration.patch import Affine, Patch
from calibration.stats import atomic_file
from calibration.stats.moments import INPUT_TAP
from calibration.targets import model_files
from calibration.targets.base import ModelFiles
from calibration.targets.open import open_target
from tests.support.onnx_nets import classifier, hazy, pictures
from tests.support.openvino_nets import Files, ir_of, opened

pytestmark = pytest.mark.integration


def saved(folder: Path, files: Files | None = None) -> Path:
    xml, weights = files or ir_of(classifier())
    (folder / "m.xml").write_bytes(xml)
    (folder / "m.bin").write_bytes(weights)
    return folder / "m.xml"


def halving(target: calibration.Target) -> Patch:
    affine = Affine(np.full(3, 0.5, np.float32), np.zeros(3, np.float32))
    return Patch({INPUT_TAP: affine}, target.sha256, "", "input", 1, 0.0)


def test_an_xml_is_opened_with_the_bin_beside_it(tmp_path: Path) -> None:
    path = saved(tmp_path)
    target = open_target(path)
    assert target.inspect()["format"] == "openvino"
    assert (
        open_target(ModelFiles(path.read_bytes(), (tmp_path / "m.bin").read_bytes())).sha256 == target.sha256
    )


def test_a_missing_bin_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path)
    (tmp_path / "m.bin").unlink()
    with pytest.raises(ModelError, match=r"m\.bin"):
        open_target(path)


def test_the_xml_alone_as_bytes_is_refused_with_the_fix() -> None:
    with pytest.raises(ModelError, match="ModelFiles"):
        open_target(ir_of(classifier())[0])


def test_one_file_of_two_is_never_given() -> None:
    files = ModelFiles(*ir_of(classifier()))
    with pytest.raises(ModelError, match=r"calibration\.patched"):
        calibration.apply(files, halving(open_target(files)))
    with pytest.raises(ModelError, match=r"calibration\.probe_files"):
        calibration.probe(files)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("w.bin", bytes(64)),
        ("x.npz", b"PK\x03\x04 x.npy"),
        ("m.onnx", classifier()[:-200]),
        ("empty", b""),
    ],
)
def test_what_is_no_model_is_told_which_formats_are_taken(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ModelError, match=r"\.onnx.*\.pt.*\.xml with its \.bin"):
        open_target(tmp_path / name)


@pytest.mark.parametrize("taken", ["input", "output/answers", "input/grid"])
def test_a_layer_with_a_name_that_is_taken_is_refused_by_that_name(taken: str) -> None:
    model = onnx.load_from_string(classifier())
    (first,) = model.graph.node[0].output
    renamed = {"input": "x", first: taken}  # of ONNX the tensors name the taps
    model.graph.input[0].name = "x"
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    with pytest.raises(ModelError, match=f"names that are taken \\(layers: {taken}\\).*Rename"):
        open_target(model.SerializeToString())


def test_a_graph_without_outputs_is_refused_as_that() -> None:
    model = onnx.load_from_string(classifier())
    del model.graph.output[:]
    with pytest.raises(ModelError) as caught:
        open_target(model.SerializeToString())
    assert caught.value.expected == "a model that gives its answers"


def test_apply_writes_both_files(tmp_path: Path) -> None:
    path, out = saved(tmp_path), tmp_path / "patched.xml"
    target = open_target(path)
    halving(target).save(tmp_path / "p.safetensors")
    arguments = ["apply", str(path), "--patch", str(tmp_path / "p.safetensors"), "--out", str(out), "--json"]
    answer = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.output)["files"] == [str(out), str(tmp_path / "patched.bin")]
    x = pictures(3)
    got = open_target(out).runner()(x)["logits"]
    np.testing.assert_allclose(got, target.runner()((x / 2).astype(np.float32))["logits"], atol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "m.bin", "m.xml", "p.safetensors", "patched.bin", "patched.xml",
    ]  # fmt: skip


def test_an_ir_is_not_written_under_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"\.xml"):
        model_files.write(tmp_path / "m.onnx", ModelFiles(b"<xml/>", b"w"))
    with pytest.raises(ModelError, match=r"m\.onnx"):
        model_files.write(tmp_path / "m.xml", ModelFiles(b"an ONNX model"))
    assert not list(tmp_path.iterdir())


def test_weights_that_cannot_be_placed_leave_no_mixed_model(tmp_path: Path) -> None:
    (tmp_path / "m.xml").write_bytes(b"old")
    (tmp_path / "m.bin").mkdir()  # nothing can be renamed onto it
    with pytest.raises(OSError, match=r"m\.bin"):
        model_files.write(tmp_path / "m.xml", ModelFiles(b"new", b"w"))
    assert not (tmp_path / "m.xml").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin"]


def test_a_power_cut_between_two_steps_leaves_no_mixed_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, weights = tmp_path / "m.xml", tmp_path / "m.bin"
    path.write_bytes(b"old")
    weights.write_bytes(b"old weights")
    on_disk: list[tuple[bytes | None, bytes]] = []

    def note(folder: Path) -> None:
        assert folder == tmp_path
        on_disk.append((path.read_bytes() if path.exists() else None, weights.read_bytes()))

    monkeypatch.setattr(atomic_file, "sync_directory", note)
    model_files.write(path, ModelFiles(b"new", b"new weights"))
    assert on_disk == [
        (b"old", b"old weights"),
        (None, b"old weights"),
        (None, b"new weights"),
        (b"new", b"new weights"),
    ]


def test_the_whole_flow_serves_an_ir(tmp_path: Path) -> None:
    path, x = saved(tmp_path), pictures(128)
    baseline = calibration.profile(path, x[:64])
    verdict = calibration.recalibrate(path, baseline, hazy(x[64:], 0.4, 0.5))
    assert verdict.accepted, verdict.reasons
    assert verdict.patch is not None
    done = calibration.patched(path, verdict.patch)
    model_files.write(tmp_path / "p.xml", ModelFiles(done.data, done.weights))
    healthy = open_target(path).runner()(x[64:])["logits"].argmax(1)
    drifted = hazy(x[64:], 0.4, 0.5)
    before = (open_target(path).runner()(drifted)["logits"].argmax(1) == healthy).mean()
    after = (open_target(tmp_path / "p.xml").runner()(drifted)["logits"].argmax(1) == healthy).mean()
    assert after > before + 0.1


def test_a_probe_gives_the_moments_of_the_first_taps() -> None:
    target, x = opened(ir_of(classifier())), pictures(3)
    files = target.probe(2)
    assert files.weights is not None
    import openvino as ov

    compiled = ov.Core().compile_model(ov.Core().read_model(files.data, files.weights), "CPU")
    outputs = {output.get_any_name(): np.array(array) for output, array in compiled(x).items()}
    frames = target.observe(x, frames_of_first=3).frames
    for tap in target.taps[:2]:
        for part in ("mean", "var"):
            got = outputs[f"{tap.name}/{part}"].reshape(3, -1)
            np.testing.assert_allclose(got, getattr(frames[tap.name], part), atol=0.02)
