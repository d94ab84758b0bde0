"""A model is opened first by a process without rights; whatever happens there is a refusal and ends."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from edge_runtime.bundles import sandbox_check
from edge_runtime.bundles.passed_models import KEPT, PassedModels
from edge_runtime.bundles.sandbox_check import check_in_sandbox
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.errors import BundleError, EngineMismatch, OpeningStopped
from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.system.sandbox import Protection
from edge_runtime.system.watched_child import End, Ended
from tests.support.broken_child import WAYS
from tests.support.bundle_builds import build, replace_file
from tests.support.bundle_models import small_model
from tests.support.hostile_models import LOOP, LOOP_ON_A_PICTURE, net, node
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration

MIB = 1 << 20


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return build(tmp_path_factory.mktemp("good"), small_model())


def with_model(good, tmp_path, model):
    path = tmp_path / "bundle"
    shutil.copytree(good, path)
    replace_file(path, "model.onnx", model)
    return load_bundle(path)


def swell(*nodes, **constants):
    """A net that makes ``big`` out of little and adds its mean."""
    mean = [node("ReduceMean", ["big"], ["m"], keepdims=0), node("Add", ["l0", "m"], ["logits"])]
    return net(*nodes, *mean, **constants)


GIB4 = np.array([2**30], np.int64)
BOMBS = {
    "constant of 4 GiB": swell(node("ConstantOfShape", ["s"], ["big"]), s=GIB4),
    "constant of 16 TiB": swell(node("ConstantOfShape", ["s"], ["big"]), s=GIB4 * 4096),
    "expand": swell(node("Expand", ["one", "s"], ["big"]), one=np.ones(1, np.float32), s=GIB4),
    "tile": swell(node("Tile", ["one", "s"], ["big"]), one=np.ones(1, np.float32), s=GIB4),
    "range": swell(
        node("Range", ["a", "b", "c"], ["r"]), node("Cast", ["r"], ["big"], to=1),
        a=np.int64(0), b=np.int64(2**30), c=np.int64(1),
    ),
    "pad": swell(node("Pad", ["l0", "s"], ["big"]), s=np.array([0, 0, 0, 2**30], np.int64)),
    "resize": swell(
        node("Resize", ["image", "", "scales"], ["big"], mode="nearest"),
        scales=np.array([1, 1, 1000, 1000], np.float32),
    ),
    "outer product": swell(
        node("ConstantOfShape", ["s"], ["a"]), node("Transpose", ["a"], ["t"], perm=[1, 0]),
        node("MatMul", ["t", "a"], ["big"]), s=np.array([1, 40_000], np.int64),
    ),
    "one hot": swell(
        node("OneHot", ["i", "depth", "v"], ["big"]),
        i=np.zeros(40_000, np.int64), depth=np.int64(40_000), v=np.array([0, 1], np.float32),
    ),
    "no output": net(node("Identity", ["l0"], ["other"])),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_model_that_takes_too_much_is_refused_and_this_process_does_not_grow(good, tmp_path, name):
    bundle = with_model(good, tmp_path, BOMBS[name])
    before = psutil.Process().memory_info().rss
    with pytest.raises(BundleError) as caught:
        check_in_sandbox(bundle)
    assert str(bundle.path / "model.onnx") in str(caught.value)
    assert psutil.Process().memory_info().rss < before + 100 * MIB
    assert not psutil.Process().children()


@pytest.mark.parametrize("model", [LOOP, LOOP_ON_A_PICTURE], ids=["at once", "on a picture"])
def test_a_model_without_end_is_ended(good, tmp_path, model):
    bundle = with_model(good, tmp_path, model)
    with pytest.raises(BundleError, match="in time"):
        check_in_sandbox(bundle, timeout_s=2.5)
    assert not psutil.Process().children()


def test_a_model_without_end_is_ended_when_it_is_asked_to_stop(good, tmp_path):
    asked = []
    with pytest.raises(OpeningStopped):
        check_in_sandbox(
            with_model(good, tmp_path, LOOP), should_stop=lambda: asked.append(1) or len(asked) > 3
        )
    assert not psutil.Process().children()


def test_a_golden_picture_that_cannot_be_decoded_is_refused_there(good, tmp_path):
    path = tmp_path / "bundle"
    shutil.copytree(good, path)
    replace_file(path, "golden/g0.png", b"\x89PNG\r\n\x1a\n" + bytes(40))
    with pytest.raises(BundleError, match="golden picture"):
        check_in_sandbox(load_bundle(path))


def test_another_runtime_is_the_operators_mistake_and_not_the_bundles(good):
    with pytest.raises(EngineMismatch):
        check_in_sandbox(load_bundle(good), settings=EngineSettings(runtime="torch"))


@pytest.mark.parametrize("way", WAYS)
def test_however_the_child_misbehaves_it_is_a_refusal_and_gone(good, monkeypatch, way):
    monkeypatch.setattr(sandbox_check, "_CHILD", "tests.support.broken_child")
    monkeypatch.setattr(sandbox_check, "small_environment", lambda: {"PYTHONPATH": str(ROOT), "HOME": way})
    hangs = way in ("hangs", "closes its pipes and stays", "ignores being asked to end")
    timeout_s = 1.0 if hangs else WAIT_S
    if way == "answers":
        assert check_in_sandbox(load_bundle(good), timeout_s) is not None
    else:
        with pytest.raises(BundleError) as caught:
            check_in_sandbox(load_bundle(good), timeout_s)
        assert len(str(caught.value)) < 2000
    assert not psutil.Process().children()


def refuse_to_start(*_):
    raise AssertionError("a process was started")


def test_what_passed_is_not_opened_again(good, tmp_path, monkeypatch):
    passed = PassedModels(tmp_path / "opened")
    first = check_in_sandbox(load_bundle(good), passed=passed)
    monkeypatch.setattr(sandbox_check, "_run_child", refuse_to_start)
    assert check_in_sandbox(load_bundle(good), passed=passed) == first


@pytest.fixture
def keys(good, monkeypatch):
    """Keys that are asked for, of checks that end there."""
    asked = []
    monkeypatch.setattr(PassedModels, "find", lambda self, key: asked.append(key) or "known")
    return asked


def change_of(what, path, monkeypatch):
    match what:
        case "model":
            replace_file(path, "model.onnx", small_model(seed=9))
        case "golden picture":
            replace_file(path, "golden/g0.png", (path / "golden/g1.png").read_bytes())
        case "preprocessing":
            text = (path / "bundle.yaml").read_text()
            (path / "bundle.yaml").write_text(text.replace("120", "121"))
        case "our check":
            monkeypatch.setattr(sandbox_check, "CHECK_VERSION", 2)
        case "a library":
            monkeypatch.setattr(sandbox_check, "_version_of", lambda name: f"{name} 2")
        case "Python":
            monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
        case "processor":
            monkeypatch.setattr("platform.machine", lambda: "riscv64")
        case "limits":
            return {"memory_mib": 700}
        case "runtime":
            return {"settings": EngineSettings(runtime="openvino")}
        case "batch":
            return {"settings": EngineSettings(max_batch=8)}
    return {}


@pytest.mark.parametrize(
    "what",
    [
        "model", "golden picture", "preprocessing", "our check", "a library", "Python", "processor", "limits",
        "runtime", "batch",
    ],
)  # fmt: skip
def test_it_is_opened_again_when_anything_that_counts_has_changed(good, tmp_path, keys, monkeypatch, what):
    passed, path = PassedModels(tmp_path / "opened"), tmp_path / "bundle"
    shutil.copytree(good, path)
    for _ in range(2):
        check_in_sandbox(load_bundle(path), passed=passed)
    keywords = change_of(what, path, monkeypatch)
    check_in_sandbox(load_bundle(path), passed=passed, **keywords)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"7", b"\xff", b'{"landlock_abi": 7}', b"{" * 5000, b'{"landlock_abi": []}'],
)
def test_a_note_that_cannot_be_read_counts_for_nothing(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    assert PassedModels(tmp_path).find("key") is None


def test_notes_are_bounded_and_a_disk_that_refuses_is_no_error(tmp_path):
    passed = PassedModels(tmp_path / "opened")
    protection = Protection(7, has_seccomp=True)
    for number in range(KEPT + 5):
        passed.note(f"key{number}", protection)
    assert len(list(passed.folder.iterdir())) == KEPT
    assert passed.find(f"key{number}") == protection
    (tmp_path / "file").touch()
    PassedModels(tmp_path / "file" / "opened").note("key", protection)
    PassedModels(tmp_path / "unwritten", may_write=False).note("key", protection)
    assert not (tmp_path / "unwritten").exists()


ORPHANING = """
import sys
from pathlib import Path
from edge_runtime.bundles.sandbox_check import check_in_sandbox
from edge_runtime.bundles.verify import load_bundle
check_in_sandbox(load_bundle(Path(sys.argv[1])))
"""


def test_the_child_does_not_outlive_a_killed_parent(good, tmp_path):
    bundle = with_model(good, tmp_path, LOOP)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", ORPHANING, str(bundle.path)], env=env)
    try:
        [child] = until(lambda: psutil.Process(parent.pid).children())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait(WAIT_S)
    assert until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("number", range(1, 65))
def test_every_signal_that_ends_it_is_a_reason(number):
    found = sandbox_check._describe(Ended(End.BY_ITSELF, -number, b"", "one\nlast"))
    if number in (signal.SIGXCPU, signal.SIGKILL):
        assert "last" not in found
    else:
        names = {one.value: one.name for one in signal.Signals}
        assert names.get(number, f"signal {number}") in found
        assert "last" in found
