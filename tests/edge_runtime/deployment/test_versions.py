"""With ``latest`` a version that is half copied, damaged or fails is skipped, and tried again when it changes."""

import io
import os
import shutil
import zipfile

import pytest

from edge_runtime.bundles.signing.ec_keys import load_public_key
from edge_runtime.bundles.signing.trust import Trust, load_trust
from edge_runtime.config import Config, strict_yaml
from edge_runtime.config.trust import TrustConfig
from edge_runtime.deployment import open_bundle as opening
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.open_bundle import load_model_bundle, open_bundle
from edge_runtime.deployment.start_record import StartRecord
from edge_runtime.deployment.store.in_use import InUse
from edge_runtime.deployment.store.installed import list_installed
from edge_runtime.deployment.version_pointers import VersionPointers
from edge_runtime.deployment.versions import (
    MOST_TRIED,
    NewerVersions,
    Skipped,
    is_mended,
    list_candidates,
    take_fingerprint,
)
from edge_runtime.errors import BundleError, EngineMismatch, EngineMissing
from tests.support.bundle_builds import build, edit, replace_file
from tests.support.bundle_models import small_model
from tests.support.signed_bundles import Publisher

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Versions 1 and 2 of one model, and a state directory in which they passed their first opening."""
    folder = tmp_path_factory.mktemp("whole")
    for version in (1, 2):
        build(folder / "bundles", small_model(), version=version)
    for version in (1, 2):
        opened = open_bundle(config_of(folder, version=version), "m")
        opened.engine.close()
    return folder


@pytest.fixture
def box(whole, tmp_path):
    folder = tmp_path / "box"
    shutil.copytree(whole, folder)
    return folder


def config_of(folder, version="latest", rollout=None, **engine):
    model = {"bundle": str(folder / "bundles" / "small"), "version": version, "engine": engine}
    if rollout is not None:
        model["rollout"] = rollout
    cameras = {"c": {"path": "demo:conveyor", "model": "m"}}
    return Config.model_validate(
        {"device": "box", "state_dir": str(folder / "state"), "models": {"m": model}, "cameras": cameras}
    )


def version(folder, number):
    return folder / "bundles" / "small" / str(number)


def open_latest(folder, **engine):
    opened = open_bundle(config_of(folder, **engine), "m")
    opened.engine.close()
    return opened


def empty(path):
    shutil.rmtree(path)
    path.mkdir()


def cut(path):
    model = path / "model.onnx"
    model.write_bytes(model.read_bytes()[:200])


def link(path):
    (path / "model.onnx").unlink()
    (path / "model.onnx").symlink_to("/dev/zero")


def answer_otherwise(path):
    replace_file(path, "model.onnx", small_model(seed=7))


def make_archive(path, *more):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in ("m/data.pkl", "m/constants.pkl", "m/version", *more):
            target.writestr(name, bytes(99), zipfile.ZIP_DEFLATED if name == "m" else zipfile.ZIP_STORED)
    replace_file(path, "model.onnx", buffer.getvalue())
    edit(path, lambda data: data.update(format="torchscript"))


def strange_archive(path):
    make_archive(path, "m")


DAMAGES = {
    "an empty folder": empty,
    "the model cut off": cut,
    "no manifest": lambda path: (path / "bundle.yaml").unlink(),
    "an empty manifest": lambda path: (path / "bundle.yaml").write_bytes(b""),
    "half a manifest": lambda path: os.truncate(path / "bundle.yaml", 150),
    "no golden pictures": lambda path: shutil.rmtree(path / "golden"),
    "no labels": lambda path: (path / "labels.txt").unlink(),
    "a file that a copy left": lambda path: (path / ".model.onnx.Xy12").write_bytes(b"x"),
    "a link": link,
    "a folder in place of the model": lambda path: ((path / "model.onnx").unlink(), (path / "model.onnx").mkdir()),
    "a manifest of later times": lambda path: edit(path, lambda data: data.update(schema_version=9)),
    "a model whose archive has a member without a folder": strange_archive,
    "a model that answers otherwise": answer_otherwise,
    "a model that no engine takes": lambda path: replace_file(path, "model.onnx", small_model()[:-20]),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_newest_version_that_cannot_be_used_is_skipped_and_said_to_be(box, damage):
    assert open_latest(box).skipped is None
    DAMAGES[damage](version(box, 2))
    opened = open_latest(box)
    assert opened.bundle.id == "small/1"
    assert opened.skipped.reason
    assert opened.notes[0].startswith("version: ")
    assert not is_mended(opened.skipped, 1)
    with pytest.raises(BundleError):
        open_bundle(config_of(box, version=2), "m")


def test_it_is_whole_again_once_the_copy_is_done(box, whole):
    half = box / "half"
    shutil.copytree(version(whole, 2), half)
    cut(version(box, 2))
    skipped = open_latest(box).skipped
    assert not is_mended(skipped, 1)
    (version(box, 2) / "labels.txt").write_text("other")  # changed, and still not whole
    assert not is_mended(skipped, 1)
    shutil.rmtree(version(box, 2))
    half.rename(version(box, 2))
    assert is_mended(skipped, 1)
    assert open_latest(box).bundle.id == "small/2"


def test_a_still_newer_version_counts_as_mended_and_an_older_one_does_not(box, whole):
    empty(version(box, 2))
    skipped = open_latest(box).skipped
    build(box / "other", small_model(), version=3)
    shutil.move(box / "other" / "small" / "3", version(box, 3))
    assert is_mended(skipped, 1)
    assert not is_mended(skipped, 3)


@pytest.mark.parametrize(
    ("there", "last_run", "expected"),
    [
        ((1, 2, 3), None, [3, 2, 1]),
        ((1, 2, 3), 1, [3, 1, 2]),
        ((1, 2, 3), 3, [3, 2, 1]),
        ((1, 2, 3), 9, [3, 2, 1]),
        ((2, 10), 2, [10, 2]),
        ((7,), 7, [7]),
        (tuple(range(1, 20)), 4, [19, 4, 18, 17, 16]),
    ],
)
def test_the_one_that_ran_last_comes_before_the_others(tmp_path, there, last_run, expected):
    for number in there:
        (tmp_path / str(number)).mkdir()
    order = StartRecord(tmp_path / "none", "m", is_kept=False, may_write=False, last_run=last_run).order
    found = [int(path.name) for path in list_candidates(tmp_path, "latest", order)]
    assert found == expected
    assert len(found) <= MOST_TRIED
    assert [int(path.name) for path in list_candidates(tmp_path, there[0], order)] == [there[0]]


def test_when_none_can_be_used_the_newest_is_the_one_that_is_named(box):
    for number in (1, 2):
        cut(version(box, number))
    for act in (open_latest, lambda folder: load_model_bundle(config_of(folder), "m")):
        with pytest.raises(BundleError) as caught:
            act(box)
        assert str(version(box, 2)) in str(caught.value)


def test_commands_take_the_newest_version_that_is_whole(box):
    empty(version(box, 2))
    assert load_model_bundle(config_of(box), "m").id == "small/1"


def test_a_mistake_in_the_configuration_is_no_reason_to_take_another_version(box):
    with pytest.raises(EngineMismatch):
        open_latest(box, runtime="torch")


def test_a_format_that_the_configured_runtime_cannot_run_is_no_reason_to_stop(box):
    make_archive(version(box, 2))
    opened = open_latest(box, runtime="onnxruntime")
    assert opened.bundle.id == "small/1"
    assert "torchscript" in opened.skipped.reason


@pytest.mark.parametrize(
    ("newest", "damaged", "expected"),
    [
        ("torchscript", (), "small/1"),
        ("torchscript", (1,), EngineMissing),
        ("onnx", (), EngineMissing),
        ("onnx", (2,), EngineMissing),
        ("onnx", (1, 2), BundleError),
    ],
)
def test_an_engine_that_is_not_there_is_asked_for_once_a_format(box, monkeypatch, newest, damaged, expected):
    missing, asked = newest, []

    def open_engine(bundle, *given):
        if bundle.manifest.format == missing:
            asked.append(bundle.id)
            raise EngineMissing("not installed")
        return real(bundle, *given)

    real = opening.open_bundle_engine
    monkeypatch.setattr(opening, "check_in_sandbox", lambda *_, **__: None)
    monkeypatch.setattr(opening, "open_bundle_engine", open_engine)
    if newest == "torchscript":
        make_archive(version(box, 2))
    for number in damaged:
        cut(version(box, number))
    if isinstance(expected, str):
        assert open_latest(box).bundle.id == expected
    else:
        with pytest.raises(expected):
            open_latest(box)
    assert len(asked) == (expected is not BundleError)


@pytest.mark.parametrize("content", [None, b"", b"x", b"1" * 5000, b"\xff", b"1.5"])
def test_a_note_of_the_last_version_that_cannot_be_read_counts_for_nothing(tmp_path, content):
    state = ModelState.open(tmp_path, "m")
    if content is not None:
        (state.folder / "last-version").write_bytes(content)
    assert state.read_last_version() is None or content == b"1" * 5000
    state.note_last_version(3)
    assert state.read_last_version() == 3


def test_what_cannot_be_read_is_not_mended(tmp_path):
    assert take_fingerprint(tmp_path / "gone") == ()
    assert not is_mended(Skipped(tmp_path / "gone", "why", (("1", -1, 0),)), 0)


@pytest.mark.parametrize("error", [IndexError("x"), KeyError("x"), ValueError("x"), RecursionError()])
def test_a_parser_that_fails_unexpectedly_costs_one_version(box, monkeypatch, error):
    def parse(text, *_):
        if b"version: 2" in text:
            raise error
        return load(text, *_)

    load = strict_yaml.load
    monkeypatch.setattr(strict_yaml, "load", parse)
    opened = open_latest(box)
    assert opened.bundle.id == "small/1"
    with pytest.raises(BundleError) as caught:
        open_bundle(config_of(box, version=2), "m")
    assert caught.value.exit_code == 65


def changed(bundle):
    """Its manifest would be parsed if it could: what it says shows in the refusal."""
    (bundle / "bundle.yaml").write_text("name: [never parsed")


def test_nothing_of_an_unsigned_version_is_parsed_where_signatures_are_required(box, whole, tmp_path):
    publisher = Publisher(tmp_path / "keys")
    trust = Trust((load_public_key(publisher.public),), require_signed=True)
    newer = NewerVersions(box / "bundles" / "small", lambda: trust)
    changed(version(box, 2))
    assert newer.find_newest(1, ()) is None
    assert "unsigned" in newer.problem
    assert "2" in newer.problem
    shutil.rmtree(version(box, 2))
    shutil.copytree(version(whole, 2), version(box, 2))
    publisher.sign(version(box, 2))
    assert newer.find_newest(1, ()) == 2
    assert newer.problem is None


def test_a_look_follows_an_edit_of_the_trust_and_opens_nothing_without_one(box, tmp_path):
    trust = [Trust()]
    newer = NewerVersions(
        box / "bundles" / "small",
        lambda: load_trust(trust[0]) if isinstance(trust[0], TrustConfig) else trust[0],
    )
    assert newer.find_newest(1, ()) == 2
    trust[0] = Trust(min_version={"small": 3})
    assert newer.find_newest(1, ()) is None
    assert "min_version" in newer.problem
    trust[0] = Trust()
    assert newer.find_newest(1, ()) == 2
    trust[0] = TrustConfig(keys=(str(tmp_path / "gone.pub"),))
    assert newer.find_newest(1, ()) is None
    assert "gone.pub" in newer.problem


def test_a_skipped_version_counts_as_mended_only_when_it_is_trusted(box, whole):
    empty(version(box, 2))
    skipped = open_latest(box).skipped
    shutil.rmtree(version(box, 2))
    shutil.copytree(version(whole, 2), version(box, 2))
    assert not is_mended(skipped, 1, Trust(require_signed=True))
    assert is_mended(skipped, 1, Trust())


def test_a_rollout_that_is_turned_off_on_its_way_leaves_the_active_version_and_says_so(box):
    model_state = ModelState.open(box / "state", "m")
    model_state.note_last_version(1)
    VersionPointers(active=1, candidate=2).save(model_state.versions_path)
    opened = open_latest(box)
    assert opened.bundle.id == "small/1"
    assert "2" in opened.held_back
    assert opened.held_back in opened.notes[0]
    chosen = open_bundle(config_of(box, version=2), "m")
    assert (chosen.bundle.id, chosen.held_back) == ("small/2", None)


@pytest.mark.parametrize("is_gone", [False, True])
def test_an_untried_version_is_not_the_first_to_answer_when_the_active_one_is_damaged(box, is_gone):
    build(box / "bundles", small_model(), version=3)
    model_state = ModelState.open(box / "state", "m")
    VersionPointers(active=2, previous=1).save(model_state.versions_path)
    shutil.rmtree(version(box, 2)) if is_gone else cut(version(box, 2))
    opened = open_latest(box, rollout={})
    assert (opened.bundle.id, opened.untried) == ("small/1", None)
    assert load_model_bundle(config_of(box, rollout={}), "m").id == "small/1"


def test_an_untried_version_answers_when_nothing_else_can_and_it_is_said(box):
    model_state = ModelState.open(box / "state", "m")
    VersionPointers(active=1, candidate=2).save(model_state.versions_path)
    cut(version(box, 1))
    opened = open_latest(box, rollout={})
    assert opened.bundle.id == "small/2"
    assert opened.untried in opened.notes[1]


@pytest.mark.parametrize("rollout", [None, {}])
def test_a_refused_version_never_answers_by_itself(box, rollout):
    model_state = ModelState.open(box / "state", "m")
    VersionPointers(active=1, refused={2: "too slow"}).save(model_state.versions_path)
    for damage in (cut, shutil.rmtree):
        damage(version(box, 1))
        with pytest.raises(BundleError):
            open_latest(box, rollout=rollout)
    chosen = open_bundle(config_of(box, version=2), "m")
    chosen.engine.close()
    assert chosen.bundle.id == "small/2"


@pytest.mark.parametrize("said", [{"version": 77}, {"name": "other"}])
def test_a_version_whose_manifest_does_not_fit_its_folder_is_opened_nowhere(box, said):
    edit(version(box, 2), lambda data: data.update(said))
    opened = open_latest(box)
    assert opened.bundle.id == "small/1"
    assert "small/2" in opened.skipped.reason
    with pytest.raises(BundleError):
        open_bundle(config_of(box, version=2), "m")
    with pytest.raises(BundleError):
        opening.open_newer(config_of(box), "m", 2, lambda: False, opened.bundle.manifest.preprocess)
    newer = NewerVersions(box / "bundles" / "small")
    assert newer.find_newest(1, ()) is None
    assert "small/2" in newer.problem
    shutil.rmtree(version(box, 1))
    with pytest.raises(BundleError):
        load_model_bundle(config_of(box), "m")
    listed = list_installed(box / "bundles", InUse())
    assert [(one.held.version, one.is_whole) for one in listed] == [(2, False)]
    assert "small/2" in listed[0].problem


def test_the_folder_of_one_version_may_have_any_name(box):
    version(box, 1).rename(box / "model")
    config = config_of(box)
    model = config.models["m"].model_copy(update={"bundle": str(box / "model")})
    opened = open_bundle(config.model_copy(update={"models": {"m": model}}), "m")
    opened.engine.close()
    assert opened.bundle.id == "small/1"
