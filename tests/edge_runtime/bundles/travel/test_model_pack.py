"""The artifact of a bundle has the form of the ModelPack specification, and nothing else is taken for one."""

import json

import pytest

from calibration.stats.json_values import MOST_VALUES
from edge_runtime.bundles.travel.files import list_files
from edge_runtime.bundles.travel.model_pack import NotABundle, find_digest, pack_manifest, read_manifest
from edge_runtime.bundles.verify import MAX_FILES
from tests.support.signed_bundles import Publisher, build_small


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return list_files(Publisher(folder / "keys").sign(build_small(folder)))


@pytest.fixture(scope="module")
def packed(files):
    return pack_manifest(files.bundle.manifest, files.sizes, files.hashes)


def test_the_manifest_is_one_of_a_model(files, packed):
    manifest = json.loads(packed.manifest)
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert manifest["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert manifest["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert manifest["config"]["digest"] == find_digest(packed.config)
    kinds = {
        one["annotations"]["org.cncf.model.filepath"]: one["mediaType"].removeprefix(
            "application/vnd.cncf.model."
        )
        for one in manifest["layers"]
    }
    assert kinds["model.onnx"] == "weight.v1.raw"
    assert kinds["bundle.yaml"] == kinds["bundle.sig"] == kinds["labels.txt"] == "weight.config.v1.raw"
    assert kinds["golden/g0.png"] == "dataset.v1.raw"
    assert set(kinds) == set(files.sizes)


def test_the_config_has_what_its_schema_requires(files, packed):
    config = json.loads(packed.config)
    assert config["descriptor"] == {"name": "small", "version": "1"}
    assert config["config"] == {"format": "onnx", "capabilities": {"inputTypes": ["image"]}}
    assert config["modelfs"]["type"] == "layers"
    digests = [one["digest"] for one in json.loads(packed.manifest)["layers"]]
    assert config["modelfs"]["diffIds"] == digests


def test_the_same_bundle_gives_the_same_digest(files, packed):
    again = list_files(files.bundle.path)
    assert pack_manifest(again.bundle.manifest, again.sizes, again.hashes).digest == packed.digest


def test_what_was_packed_is_read(files, packed):
    layers = read_manifest(packed.manifest)
    assert {one.path: (one.sha256, one.size) for one in layers} == {
        path: (files.hashes[path], files.sizes[path]) for path in files.sizes
    }


def layer(path, **changes):
    return {
        "mediaType": "application/vnd.cncf.model.weight.v1.raw",
        "digest": "sha256:" + "0" * 64,
        "size": 1,
        "annotations": {"org.cncf.model.filepath": path},
        **changes,
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(artifactType="application/vnd.unknown"),
        lambda m: m.pop("artifactType"),
        lambda m: m["config"].update(mediaType="application/vnd.oci.empty.v1+json"),
        lambda m: m.update(schemaVersion=1),
        lambda m: m.update(layers=[]),
        lambda m: m.update(layers=[layer(f"f{i}") for i in range(1003)]),
        lambda m: m.update(layers=[one for one in m["layers"] if "bundle.yaml" not in str(one)]),
        lambda m: m["layers"].append(m["layers"][0]),
        lambda m: m["layers"].append(layer("../evil")),
        lambda m: m["layers"].append(layer("/etc/passwd")),
        lambda m: m["layers"].append(layer("a/../../b")),
        lambda m: m["layers"].append(layer(".hidden")),
        lambda m: m["layers"].append(layer("a\0b")),
        lambda m: m["layers"].append(layer("")),
        lambda m: m["layers"].append(layer("golden")),
        lambda m: m["layers"].append(layer("x", annotations={})),
        lambda m: m["layers"].append(layer("x", mediaType="application/vnd.cncf.model.weight.v1.tar")),
        lambda m: m["layers"].append(layer("x", size=-1)),
        lambda m: m["layers"].append(layer("x", size=10 * 1024**3)),
        lambda m: m["layers"].append(layer("x", digest="sha256:../../x")),
        lambda m: m["layers"].extend([layer("x", size=1), layer("y", size=2)]),
        lambda m: m["layers"].extend(layer(f"x{i}", size=1024**3) for i in range(3)),
    ],
)  # fmt: skip
def test_other_artifacts_are_refused(packed, change):
    manifest = json.loads(packed.manifest)
    change(manifest)
    with pytest.raises(NotABundle):
        read_manifest(json.dumps(manifest).encode())


@pytest.mark.parametrize("data", [b"", b"null", b"{}", b"[" * 100_000, b"\xff"])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(NotABundle):
        read_manifest(data)


@pytest.mark.parametrize("inside", [b"{}", b"[]", b"0", b'{"annotations":{}}'])
def test_more_values_than_a_bundle_has_are_refused_before_they_are_parsed(inside):
    with pytest.raises(NotABundle, match=str(MOST_VALUES)):
        read_manifest(b'{"layers": [%s]}' % b",".join([inside] * (MOST_VALUES + 1)))


def test_as_many_files_as_a_bundle_may_have_with_many_words_each_are_not_too_many_values(packed):
    words = {
        "org.cncf.model.file.metadata+json": json.dumps(
            dict.fromkeys(["name", "mode", "uid", "gid", "size", "mtime", "typeflag"], 1)
        )
    }
    manifest = json.loads(packed.manifest)
    there = len(manifest["layers"])
    manifest["layers"] += [layer(f"f{i}") for i in range(MAX_FILES - there)]
    for one in manifest["layers"]:
        one["annotations"] |= words
    assert len(read_manifest(json.dumps(manifest).encode())) == MAX_FILES


def test_a_bundle_above_the_given_limit_is_refused(packed, files):
    total = sum(files.sizes.values())
    assert read_manifest(packed.manifest, total)
    with pytest.raises(NotABundle):
        read_manifest(packed.manifest, total - 1)
