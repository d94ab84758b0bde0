"""What a pull refuses, against a registry in memory: nothing is left behind, nothing of it is parsed too early."""

import json
import multiprocessing
import os
import resource
import signal

import pytest

from edge_runtime.bundles.signing.ec_keys import load_public_key
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.travel.files import list_files
from edge_runtime.bundles.travel.pull import PARTIAL_FOLDER, Order, find_known, place_bundle, pull_into
from edge_runtime.bundles.travel.push import push_bundle
from edge_runtime.bundles.travel.reference import parse_reference
from edge_runtime.bundles.travel.registry import Patience
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.errors import BundleError, RegistryRefused, StateError
from edge_runtime.system import disk
from tests.support.bundle_builds import edit
from tests.support.fake_registry import FakeRegistry, digest_of
from tests.support.signed_bundles import Publisher, build_small, copy_bundle
from tests.support.waiting import WAIT_S

TAGGED = "oci://host/small:1"


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    return Publisher(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def built(tmp_path_factory, publisher):
    return publisher.sign(build_small(tmp_path_factory.mktemp("built")))


@pytest.fixture
def registry(built):
    registry = FakeRegistry(chunk=4096)
    push_bundle(list_files(built), parse_reference(TAGGED), registry, Patience(0))
    return registry


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def run(registry, out, text=TAGGED, **order):
    wanted = Order(parse_reference(text), **order)
    with pull_into(wanted, registry, out / PARTIAL_FOLDER, Patience(0)) as pulled:
        return pulled, place_bundle(pulled, out)


def change_manifest(registry, change):
    manifest = json.loads(registry.manifests["1"])
    change(manifest)
    registry.manifests["1"] = json.dumps(manifest).encode()


def replace_blob(registry, path, data):
    """As a writer to the registry can: another file, rightly named by the artifact."""

    def change(manifest):
        layer = next(one for one in manifest["layers"] if path in one["annotations"].values())
        layer.update(digest=registry.add(data), size=len(data))

    change_manifest(registry, change)


def refusal(registry, out, text=TAGGED, error=BundleError, **order):
    with pytest.raises(error) as caught:
        run(registry, out, text, **order)
    assert not out.exists() or not list(out.iterdir())
    return caught.value


def test_a_bundle_arrives_whole(registry, built, out):
    pulled, path = run(registry, out)
    assert path == out / "small" / "1"
    assert {one.relative_to(path): one.read_bytes() for one in path.rglob("*") if one.is_file()} == {
        one.relative_to(built): one.read_bytes() for one in built.rglob("*") if one.is_file()
    }
    assert sorted(one.name for one in out.iterdir()) == ["small"]
    assert pulled.digest == digest_of(registry.manifests["1"])


def test_a_pinned_bundle_is_these_bytes(registry, out):
    digest = digest_of(registry.manifests["1"])
    assert run(registry, out, f"oci://host/small@{digest}")[0].digest == digest


def test_a_registry_that_gives_other_bytes_than_pinned_is_refused(registry, out):
    digest = digest_of(registry.manifests["1"])
    registry.manifests[digest] = registry.manifests["1"] + b" "
    assert refusal(registry, out, f"oci://host/small@{digest}").expected == digest


def test_trust_is_asked_before_it_has_a_place(registry, out, publisher, tmp_path):
    key = load_public_key(publisher.public)
    pulled, _ = run(registry, out, trust=Trust((key,), require_signed=True))
    assert pulled.bundle.signed_by == publisher.key_id
    for trust in (
        Trust((load_public_key(Publisher(tmp_path / "other").public),), require_signed=True),
        Trust((key,), revoked=frozenset({key.id})),
        Trust(min_version={"small": 2}),
        Trust(manifest_sha256={"small": "0" * 64}),
    ):
        refusal(registry, tmp_path / "elsewhere", trust=trust)


def test_a_bundle_whose_signature_was_taken_away_is_refused_where_one_is_required(registry, out, publisher):
    trust = Trust((load_public_key(publisher.public),), require_signed=True)
    change_manifest(
        registry, lambda m: m.update(layers=[one for one in m["layers"] if "bundle.sig" not in str(one)])
    )
    assert refusal(registry, out, trust=trust).found == "unsigned"
    assert run(registry, out)


@pytest.mark.parametrize("path", ["model.onnx", "labels.txt", "bundle.yaml", "golden/g0.png"])
def test_a_changed_file_that_the_artifact_names_rightly_is_refused(registry, out, path, publisher):
    trust = Trust((load_public_key(publisher.public),), require_signed=True)
    replace_blob(registry, path, b"other")
    refusal(registry, out, trust=trust)


@pytest.mark.parametrize("path", ["model.onnx", "labels.txt", "bundle.yaml", "golden/g0.png"])
def test_a_changed_byte_in_the_registry_is_refused(registry, out, path):
    manifest = json.loads(registry.manifests["1"])
    layer = next(one for one in manifest["layers"] if path in one["annotations"].values())
    data = registry.blobs[layer["digest"]]
    registry.blobs[layer["digest"]] = data[:-1] + bytes([data[-1] ^ 1])
    refusal(registry, out)


def test_a_tag_that_was_moved_to_another_version_is_refused(registry, out, built, tmp_path):
    second = build_small(tmp_path)
    edit(second, lambda data: data.update(version=2))
    files = list_files(second)
    push_bundle(files, parse_reference("oci://host/small:2"), registry, Patience(0))
    registry.manifests["1"] = registry.manifests["2"]
    assert "small/2" in refusal(registry, out).found
    registry.manifests["stable"] = registry.manifests["2"]
    assert run(registry, out, "oci://host/small:stable")[1] == out / "small" / "2"
    assert "small/2" in refusal(registry, tmp_path / "x", "oci://host/other:2").found


def test_sizes_are_bounded_before_anything_is_loaded(registry, out, monkeypatch):
    served = registry.served
    refusal(registry, out, most_bytes=1000)
    change_manifest(registry, lambda m: m["layers"][0].update(size=10 * 1024**3))
    refusal(registry, out)
    assert registry.served == served


def test_a_disk_that_is_too_small_is_told_before(registry, out, monkeypatch):
    monkeypatch.setattr(disk, "SPARE_BYTES", 1 << 60)
    with pytest.raises(StateError):
        run(registry, out)
    assert registry.served == 0


def test_a_version_that_is_there_stays(registry, out, built):
    run(registry, out)
    assert run(registry, out)[1] == out / "small" / "1"
    edit(out / "small" / "1", lambda data: data.update(tolerance=0.9))
    before = (out / "small" / "1" / "bundle.yaml").read_bytes()
    with pytest.raises(BundleError):
        run(registry, out)
    assert (out / "small" / "1" / "bundle.yaml").read_bytes() == before


def test_two_files_with_the_same_bytes_are_two_files(tmp_path, out):
    bundle = build_small(tmp_path)
    copy = copy_bundle(bundle, tmp_path / "copy")
    (copy / "twin.txt").write_bytes((copy / "labels.txt").read_bytes())
    edit(copy, lambda data: data["files"].update({"twin.txt": data["files"]["labels.txt"]}))
    registry = FakeRegistry(chunk=4096)
    push_bundle(list_files(copy), parse_reference(TAGGED), registry, Patience(0))
    _, path = run(registry, out)
    assert load_bundle(path)
    assert {(path / name).stat().st_nlink for name in ("twin.txt", "labels.txt", "model.onnx")} == {1}


def test_what_is_not_there_is_told(registry, out):
    refusal(registry, out, "oci://host/small:9", error=RegistryRefused)


def test_the_rest_of_a_killed_pull_does_no_harm(registry, out):
    (out / PARTIAL_FOLDER / "assembly" / "golden").mkdir(parents=True)
    (out / PARTIAL_FOLDER / "assembly" / "evil.txt").write_text("x")
    run(registry, out)
    assert sorted(one.name for one in out.iterdir()) == ["small"]


def test_files_of_an_older_version_are_not_loaded_again(registry, out, tmp_path):
    second = build_small(tmp_path / "second", version=2)
    push_bundle(list_files(second), parse_reference("oci://host/small:2"), registry, Patience(0))
    run(registry, out)
    pulled, path = run(registry, out, "oci://host/small:2", known=find_known(out, "small"))
    assert pulled.counts.downloaded == (second / "bundle.yaml").stat().st_size
    assert load_bundle(path).manifest.version == 2


def test_known_files_are_hashed_like_all_others(registry, out, tmp_path):
    second = build_small(tmp_path / "second", version=2)
    push_bundle(list_files(second), parse_reference("oci://host/small:2"), registry, Patience(0))
    _, first = run(registry, out)
    (first / "labels.txt").write_bytes(b"x" * (first / "labels.txt").stat().st_size)
    (first / "model.onnx").unlink()
    (first / "model.onnx").symlink_to("/dev/zero")
    _, path = run(registry, out, "oci://host/small:2", known=(first, tmp_path / "gone"))
    assert load_bundle(path).manifest.version == 2
    assert find_known(tmp_path / "nowhere", "small") == ()


def test_a_refusal_names_the_reference_not_a_folder_that_is_gone(registry, out):
    replace_blob(registry, "model.onnx", b"other")
    error = refusal(registry, out)
    assert error.path == f"{TAGGED}: model.onnx"


def test_a_refusal_keeps_what_another_pull_has_loaded(registry, out):
    other = out / PARTIAL_FOLDER / ("c" * 64 + ".part")
    other.parent.mkdir(parents=True)
    other.write_bytes(b"half")
    with pytest.raises(BundleError):
        run(registry, out, trust=Trust(min_version={"small": 2}))
    assert [path.name for path in other.parent.iterdir() if path.name != "lock"] == [other.name]


@pytest.mark.integration
def test_a_disk_that_is_full_in_the_middle_keeps_what_arrived(registry, out):
    """At every size that the disk may have left for a file; a limit of the kernel stands for it."""
    largest = max(len(data) for data in registry.blobs.values())
    for room in (0, 1, largest // 2, largest - 1):
        process = multiprocessing.get_context("fork").Process(
            target=pull_with_room, args=(registry, out, room)
        )
        process.start()
        process.join(WAIT_S)
        assert process.exitcode == 74
        assert [path.name for path in out.iterdir()] == ([PARTIAL_FOLDER] if room else [])
    pulled, _ = run(registry, out)
    assert pulled.counts.kept > 0


def pull_with_room(registry, out, room):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        run(registry, out)
    except StateError as err:
        os._exit(err.exit_code)
    os._exit(0)
