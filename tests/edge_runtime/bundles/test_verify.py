import hashlib
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.build import Materials, build_bundle
from edge_runtime.bundles.self_test import check_same_answers, self_test
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.specs import PictureSpec
from tests.support.bundle_builds import GOLDEN, PREPROCESS, build, edit, failure, recipe, replace_file
from tests.support.bundle_models import (
    colourful,
    company_model,
    external_model,
    growing_model,
    png,
    pooling_model,
    small_model,
)
from tests.support.paths import DEMO
from tests.support.waiting import WAIT_S

BUNDLE = DEMO / "bundle" / "efficientnet-lite0" / "1"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("bundles"), small_model())


@pytest.fixture(scope="session")
def small_engine() -> OnnxEngine:
    return OnnxEngine(small_model())


@pytest.fixture
def bundle_path(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "small" / "1")


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(path)
    return str(caught.value)


def test_the_demo_bundle_passes_and_is_small() -> None:
    bundle = load_bundle(BUNDLE)
    engine = OnnxEngine(bundle.model_files.data)
    report = self_test(bundle, engine)
    assert report.worst <= bundle.manifest.tolerance
    check_same_answers(bundle, engine, report.answers)
    assert sum(path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file()) < 8_000_000
    assert len(bundle.labels) == 1000


@pytest.mark.integration
def test_loading_and_testing_imports_neither_onnx_nor_torch() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from edge_runtime.bundles.verify import load_bundle\n"
        "from edge_runtime.bundles.self_test import self_test\n"
        "from edge_runtime.inference.engines.onnx_engine import OnnxEngine\n"
        f"bundle = load_bundle(Path({str(BUNDLE)!r})); self_test(bundle, OnnxEngine(bundle.model_files.data))\n"
        "sys.exit(bool({'onnx', 'torch', 'PIL'} & sys.modules.keys()))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=WAIT_S).returncode == 0


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "golden/g0.png", "golden/g0.safetensors"])
def test_one_flipped_bit_is_found(bundle_path: Path, name: str) -> None:
    data = bytearray((bundle_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle_path / name).write_bytes(data)
    assert name in refusal(bundle_path)
    assert "sha256" in refusal(bundle_path)


def test_missing_and_extra_files_are_named(bundle_path: Path) -> None:
    (bundle_path / "extra.bin").write_bytes(b"x")
    assert "extra.bin" in refusal(bundle_path)
    (bundle_path / "extra.bin").unlink()
    (bundle_path / "labels.txt").unlink()
    assert "labels.txt: missing" in refusal(bundle_path)


def test_links_and_special_files_are_refused(bundle_path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes((bundle_path / "labels.txt").read_bytes())
    (bundle_path / "labels.txt").unlink()
    (bundle_path / "labels.txt").symlink_to(outside)
    assert "symbolic link" in refusal(bundle_path)
    (bundle_path / "labels.txt").unlink()
    os.mkfifo(bundle_path / "labels.txt")
    assert "special file" in refusal(bundle_path)


def test_a_linked_folder_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    (bundle_path / "golden").rename(tmp_path / "golden")
    (bundle_path / "golden").symlink_to(tmp_path / "golden")
    assert "symbolic link" in refusal(bundle_path)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../../b", ".hidden", "a//b", "a\\b", "bundle.yaml"]
)
def test_paths_that_leave_the_bundle_are_refused(bundle_path: Path, name: str) -> None:
    edit(bundle_path, lambda data: data.update(model=name, files={**data["files"], name: "0" * 64}))
    assert "model" in refusal(bundle_path)


def test_every_problem_of_a_manifest_is_reported_with_its_line(bundle_path: Path) -> None:
    def spoil(data: dict[str, Any]) -> None:
        data["preprocess"]["colour"] = "rbg"
        data["preprocess"]["typo"] = 1
        data["version"] = 0

    edit(bundle_path, spoil)
    words = refusal(bundle_path)
    assert all(part in words for part in ("preprocess.colour", "preprocess.typo", "version", "line "))
    assert "'typo'" in words


def test_engine_hints_of_earlier_builders_are_let_by_and_not_written_any_more(bundle_path: Path) -> None:
    assert "engine" not in yaml.safe_load((bundle_path / "bundle.yaml").read_text())
    edit(bundle_path, lambda data: data.update(engine={"max_batch_size": 8, "threads": 2}))
    assert not hasattr(load_bundle(bundle_path).manifest, "engine")
    edit(bundle_path, lambda data: data.update(engines={}))
    assert "engines" in refusal(bundle_path)


def test_what_does_not_go_together_in_a_manifest_is_said_in_words(bundle_path: Path) -> None:
    edit(bundle_path, lambda data: data["preprocess"].update(std=[0, 1, 1]))
    assert "preprocess: std" in refusal(bundle_path)


def test_a_problem_in_a_section_of_several_kinds_has_its_own_key(bundle_path: Path) -> None:
    edit(bundle_path, lambda data: data["postprocess"].update(top_k=5000))
    assert "postprocess.top_k: 5000" in refusal(bundle_path)


@pytest.mark.parametrize("text", ["", "[]", "a: *b", "a: 1\na: 2\n", "\x00", "schema_version: 2\n"])
def test_what_is_no_manifest_is_refused(bundle_path: Path, text: str) -> None:
    (bundle_path / "bundle.yaml").write_text(text)
    assert "bundle.yaml" in refusal(bundle_path)


@pytest.mark.parametrize("path", ["missing", "empty", "file"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    assert path in refusal(tmp_path / path)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (external_model(), "weights in another file"),
        (small_model(training=True), "training mode"),
        (b"x" * 99, "not an ONNX"),
    ],
)
def test_models_that_reach_outside_or_train_are_refused(bundle_path: Path, model: bytes, words: str) -> None:
    replace_file(bundle_path, "model.onnx", model)
    assert words in refusal(bundle_path)


def test_bytes_that_change_after_the_check_are_not_used(bundle_path: Path) -> None:
    bundle = load_bundle(bundle_path)
    (bundle_path / "model.onnx").write_bytes(small_model(seed=3))
    with pytest.raises(BundleError, match="sha256"):
        _ = bundle.model_files.data
    with pytest.raises(BundleError):
        bundle.read("../secret")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "bgr"}, "With colour rgb"),
        ({"mean": [0, 0, 0], "std": [255, 255, 255]}, "golden"),
        ({"mean": [120 / 255, 110 / 255, 100 / 255], "std": [60 / 255, 61 / 255, 62 / 255]}, "times 255"),
        ({"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "colour": "bgr"}, "colour rgb"),
    ],
)
def test_wrong_preprocessing_is_refused_and_explained(
    bundle_path: Path, change: dict[str, Any], words: str
) -> None:
    edit(bundle_path, lambda data: data["preprocess"].update(change))
    found = failure(bundle_path)
    assert "golden" in found
    assert words in found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "bgr"}, "With colour rgb"),
        ({"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}, "mean 127 and std 128"),
        ({"mean": [0, 0, 0], "std": [255, 255, 255]}, "mean 127 and std 128"),
    ],
)
def test_the_demo_model_with_the_wrong_preprocessing_is_explained(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = shutil.copytree(BUNDLE, tmp_path / "demo")
    edit(path, lambda data: data["preprocess"].update(change))
    found = failure(path)
    assert words in found or "values in -1..1" in found


def test_a_wrong_input_size_is_refused_before_running(bundle_path: Path) -> None:
    edit(bundle_path, lambda data: data["preprocess"].update(width=40))
    assert "(3, 32, 40)" in failure(bundle_path)


def test_another_model_is_refused(bundle_path: Path) -> None:
    replace_file(bundle_path, "model.onnx", small_model(seed=9))
    assert "another" in failure(bundle_path)


def test_a_model_in_training_mode_is_recognised_by_its_answers(bundle_path: Path) -> None:
    replace_file(bundle_path, "model.onnx", company_model())
    assert "training" in failure(bundle_path)
    replace_file(bundle_path, "model.onnx", small_model(dropout=True))
    assert "dropout" in failure(bundle_path)


def test_a_model_whose_answers_grow_with_the_batch_is_not_called_a_model_in_training_mode(
    bundle_path: Path,
) -> None:
    replace_file(bundle_path, "model.onnx", growing_model())
    said = failure(bundle_path)
    assert ("logits" in said, "(1,)" in said, "training" in said) == (True, True, False)


def test_damaged_golden_files_are_refused(bundle_path: Path) -> None:
    replace_file(bundle_path, "golden/g0.safetensors", b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!")
    assert "g0.safetensors" in failure(bundle_path)
    replace_file(bundle_path, "golden/g0.png", png(np.zeros((50, 50, 3), np.uint8))[:-20])
    assert "truncated" in failure(bundle_path)


@pytest.mark.integration
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_mutated_file_of_a_bundle_escapes_as_another_error(
    built: Path, small_engine: OnnxEngine, data: st.DataObject
) -> None:
    folder = built.parent / "mutant"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built, folder)
    name = data.draw(
        st.sampled_from(["bundle.yaml", "model.onnx", "labels.txt", "golden/g0.safetensors", "golden/g0.png"])
    )
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    (folder / name).write_bytes(content)
    if name != "bundle.yaml" and bytes(content) != (built / name).read_bytes():
        replace_file(folder, name, bytes(content))
    try:
        bundle = load_bundle(folder)
        if name.startswith("golden"):
            self_test(bundle, small_engine)
    except BundleError:
        return
    assert bundle.manifest.name


def test_a_model_of_pixel_levels_with_another_normalisation_is_refused(tmp_path: Path) -> None:
    levels = PREPROCESS.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
    path = build(tmp_path, small_model(dtype=TensorProto.UINT8), preprocess=levels)
    edit(path, lambda data: data["preprocess"].update(mean=[127.0] * 3, std=[128.0] * 3))
    assert "uint8" in failure(path)
    with pytest.raises(BundleError, match=r"mean to 0.*std to 1"):
        build(tmp_path, small_model(dtype=TensorProto.UINT8), version=2)


def labels(content: bytes) -> Callable[[Path], None]:
    return lambda path: replace_file(path, "labels.txt", content)


def change(**values: Any) -> Callable[[Path], None]:
    """Other values in the preprocessing."""
    return lambda path: edit(path, lambda data: data["preprocess"].update(values))


def post(**values: Any) -> Callable[[Path], None]:
    return lambda path: edit(path, lambda data: data.update(postprocess=values))


def grow(name: str, size: int) -> Callable[[Path], None]:
    """A file of ``size`` bytes that takes no room."""
    return lambda path: os.truncate(path / name, size)


def folders(path: Path) -> None:
    (path / "/".join(["a"] * 40)).mkdir(parents=True)


def files(path: Path) -> None:
    for number in range(1100):
        (path / f"{number}").touch()


LARGE: dict[str, Callable[[Path], None]] = {
    "a label of 2000 characters": labels(b"x" * 2000 + b"\nb\nc\nd\ne\n"),
    "200,000 labels": labels(b"a\n" * 200_000),
    "labels of 5 MiB": grow("labels.txt", 5 << 20),
    "labels of 900 MiB": grow("labels.txt", 900 << 20),
    "a golden picture of 65 MiB": grow("golden/g0.png", 65 << 20),
    "golden outputs of 513 MiB": grow("golden/g0.safetensors", 513 << 20),
    "a model of more than 1 GiB": grow("model.onnx", (1 << 30) + 1),
    "an input of 67 megapixels": change(width=8192, height=8192),
    "an input of 8192 x 2049": change(width=8192, height=2049),
    "a width of 4000 digits": lambda path: spell(path, "width: 32", "width: 0x" + "f" * 4000),
    "a version of 4000 digits": lambda path: spell(path, "\nversion: 1", "\nversion: " + "9" * 4000),
    "a name of 2000 characters": post(task="classification", scores="logits", output="x" * 2000),
    "a name of 2000 characters for boxes": post(
        task="detection", boxes="x" * 2000, packing="rows", box_format="xyxy", is_normalised=True
    ),
    "2000 outputs": post(task="raw", outputs=["x"] * 2000),
    "folders 40 deep": folders,
    "1100 files": files,
}


def spell(path: Path, old: str, new: str) -> None:
    text = (path / "bundle.yaml").read_text()
    assert old in text
    (path / "bundle.yaml").write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("name", LARGE)
def test_parts_of_a_bundle_are_bounded_before_they_are_read(bundle_path: Path, name: str) -> None:
    LARGE[name](bundle_path)
    tracemalloc.start()
    try:
        words = refusal(bundle_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000
    assert len(words) < 5000


@pytest.mark.parametrize(
    "size", [{"width": 4096, "height": 4096}, {"width": 8192, "height": 2048}, {"width": 1, "height": 8192}]
)
def test_inputs_of_real_models_are_not_too_large(size: dict[str, int]) -> None:
    assert PictureSpec.model_validate({**PREPROCESS.model_dump(), **size})


@pytest.mark.integration
def test_golden_pictures_are_prepared_one_at_a_time(tmp_path: Path) -> None:
    side, count = 512, 12
    spec = PREPROCESS.model_copy(update={"width": side, "height": side})
    golden = {f"g{i}.png": png(colourful(i)) for i in range(count)}
    path = build(tmp_path, pooling_model(side), golden, preprocess=spec)
    bundle, engine = load_bundle(path), OnnxEngine(pooling_model(side))
    tracemalloc.start()
    try:
        self_test(bundle, engine)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    one = side * side * 3 * 4
    assert peak < 10.5 * one  # four together and as a batch, one more; all at once are twelve and more


def test_a_signature_beside_the_listed_files_is_taken_and_bounded(bundle_path: Path) -> None:
    (bundle_path / "bundle.sig").write_bytes(b"")
    assert load_bundle(bundle_path).signed_by is None
    (bundle_path / "bundle.sig").write_bytes(b" " * 5_000_000)
    assert "bundle.sig" in refusal(bundle_path)


def test_the_hash_of_a_foreign_file_is_not_shown(bundle_path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"hunter2")
    (bundle_path / "labels.txt").unlink()
    os.link(secret, bundle_path / "labels.txt")
    assert hashlib.sha256(b"hunter2").hexdigest()[:6] not in refusal(bundle_path)


def test_a_bundle_of_hard_links_is_taken(bundle_path: Path, tmp_path: Path) -> None:
    for path in [one for one in bundle_path.rglob("*") if one.is_file()]:
        os.link(path, tmp_path / f"backup-{path.name}")
    assert load_bundle(bundle_path).labels


FOREIGN = {
    "a location told twice": b"\x70\x01\x70\x07",
    "a location of 64 bits": b"\x70\x81\x80\x80\x80\x10",
    "a long key": b"\xf2\x80\x80\x80\x10\x00",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_hidden_weights_elsewhere_are_refused(bundle_path: Path, name: str) -> None:
    tensor = b"\x08\x01\x10\x01\x42\x01w" + FOREIGN[name]
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    replace_file(bundle_path, "model.onnx", b"\x08\x0a\x3a" + bytes([len(graph)]) + graph)
    assert "model.onnx" in refusal(bundle_path)


def test_an_onnx_file_under_the_format_of_an_ir_is_refused(bundle_path: Path) -> None:
    (bundle_path / "model.bin").write_bytes(b"x")
    replace_file(bundle_path, "model.bin", b"x")
    edit(bundle_path, lambda data: data.update(format="openvino", weights="model.bin"))
    assert "ONNX by its bytes" in refusal(bundle_path)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04", b"<?xml version='1.0'?><net version='11'/>", b"GGUF", b"\x1c\0\0\0TFL3"]
)
def test_other_files_under_the_format_of_onnx_are_refused(bundle_path: Path, content: bytes) -> None:
    replace_file(bundle_path, "model.onnx", content)
    assert "model.onnx" in refusal(bundle_path)


def test_a_model_that_is_optimised_for_one_kind_of_cpu_makes_no_bundle(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(small_model())
    next(node for node in model.graph.node if node.op_type == "Conv").domain = "com.microsoft.nchwc"
    with pytest.raises(BundleError, match="one kind of CPU"):
        build_bundle(
            recipe(),
            Materials(ModelFiles(model.SerializeToString()), GOLDEN, list("abcde")),
            OnnxEngine(small_model()),
            tmp_path,
        )
