"""What is attached to a bundle is listed and loaded, in registries with and without lists of referrers."""

import json

import pytest

from calibration.stats.json_values import MOST_VALUES
from edge_runtime.bundles.travel.files import list_files
from edge_runtime.bundles.travel.push import push_bundle
from edge_runtime.bundles.travel.reference import parse_reference
from edge_runtime.bundles.travel.referrers import MAX_ATTACHED, attach_file, list_attached, load_attached
from edge_runtime.bundles.travel.registry import Patience
from edge_runtime.errors import BundleError, RegistryRefused
from tests.support.fake_registry import FakeRegistry, digest_of
from tests.support.signed_bundles import build_small

PATIENT = Patience(60, lambda: 0.0, lambda _: None)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built"))


@pytest.fixture(params=["with lists", "without"])
def registry(request, built):
    registry = FakeRegistry()
    registry.referrers = {} if request.param == "with lists" else None
    push_bundle(list_files(built), parse_reference("oci://host/small:1"), registry, PATIENT)
    return registry


@pytest.fixture
def subject(registry):
    return registry.manifests["1"]


def attach(registry, subject, kind="patch", name="p3.safetensors", data=b"patch"):
    return attach_file(registry, subject, kind, name, data, PATIENT)


def attached(registry, subject):
    return list_attached(registry, digest_of(subject), PATIENT)


def test_what_was_attached_is_listed_and_loaded(registry, subject):
    assert attached(registry, subject) == ()
    given = {"patch": b"patch", "baseline": b"baseline", "sbom": b"{}"}
    for kind, data in given.items():
        attach(registry, subject, kind, f"{kind}.bin", data)
    found = attached(registry, subject)
    assert {one.kind: one.name for one in found} == {kind: f"{kind}.bin" for kind in given}
    for one in found:
        assert load_attached(registry, digest_of(subject), one, PATIENT) == given[one.kind]
    assert registry.manifests["1"] == subject  # the bundle's digest stays


def test_the_same_file_again_is_listed_once(registry, subject):
    assert attach(registry, subject) == attach(registry, subject)
    assert len(attached(registry, subject)) == 1


@pytest.mark.parametrize(
    "method", ["has_blob", "start_upload", "finish_upload", "put_manifest", "get_manifest"]
)
def test_a_registry_that_is_away_once_lists_it(registry, subject, method):
    registry.lose_next = [method]
    attach(registry, subject)
    registry.lose_next = ["get_referrers"]
    assert len(attached(registry, subject)) == 1


def test_an_artifact_names_its_subject(registry, subject):
    artifact = json.loads(registry.manifests[attach(registry, subject)])
    assert artifact["subject"]["digest"] == digest_of(subject)
    assert artifact["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert artifact["artifactType"] == "application/vnd.edge-runtime.patch.v1.safetensors"


def test_other_bytes_or_another_subject_are_refused(registry, subject):
    attach(registry, subject)
    (one,) = attached(registry, subject)
    with pytest.raises(BundleError):
        load_attached(registry, "sha256:" + "0" * 64, one, PATIENT)
    for changed in (b"PATCH", b"longer than before"):
        registry.blobs[digest_of(b"patch")] = changed
        with pytest.raises(BundleError):
            load_attached(registry, digest_of(subject), one, PATIENT)
    artifact = json.loads(registry.manifests[one.digest])
    registry.manifests[one.digest] = json.dumps(artifact | {"layers": artifact["layers"] * 2}).encode()
    with pytest.raises(RegistryRefused):
        load_attached(registry, digest_of(subject), one, PATIENT)
    del registry.manifests[one.digest]
    with pytest.raises(RegistryRefused):
        load_attached(registry, digest_of(subject), one, PATIENT)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"schemaVersion": 2, "manifests": [{"digest": "../x"}]}']
)
def test_a_list_that_cannot_be_read_is_refused(registry, subject, content):
    registry.get_referrers = lambda digest: content
    with pytest.raises(RegistryRefused):
        attached(registry, subject)


def test_a_list_is_bounded(registry, subject):
    entry = {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1}
    many = {"schemaVersion": 2, "manifests": [entry] * (MAX_ATTACHED + 1)}
    registry.get_referrers = lambda digest: json.dumps(many).encode()
    with pytest.raises(RegistryRefused):
        attached(registry, subject)


def test_more_values_than_a_list_has_are_refused_before_they_are_parsed(registry, subject):
    many = b'{"schemaVersion": 2, "manifests": [%s]}' % b",".join([b"{}"] * MOST_VALUES)
    registry.get_referrers = lambda digest: many
    with pytest.raises(RegistryRefused, match=str(MOST_VALUES)):
        attached(registry, subject)


def test_what_another_tool_attached_is_listed_by_its_type(registry, subject):
    entry = {
        "mediaType": "x",
        "digest": "sha256:" + "0" * 64,
        "size": 1,
        "artifactType": "application/vnd.other",
    }
    registry.get_referrers = lambda digest: json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    assert [one.kind for one in attached(registry, subject)] == ["application/vnd.other"]
