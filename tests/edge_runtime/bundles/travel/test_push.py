"""Pushing to a registry in memory that is away again and again."""

import pytest

from edge_runtime.bundles.travel import push
from edge_runtime.bundles.travel.files import list_files
from edge_runtime.bundles.travel.model_pack import pack_manifest
from edge_runtime.bundles.travel.push import MOST_LOSSES, push_bundle
from edge_runtime.bundles.travel.reference import parse_reference
from edge_runtime.bundles.travel.registry import Patience
from edge_runtime.errors import BundleError, RegistryLost, RegistryRefused
from tests.support.bundle_builds import edit
from tests.support.fake_registry import FakeRegistry
from tests.support.signed_bundles import build_small, copy_bundle

REFERENCE = parse_reference("oci://host/small:1")
CHUNK = 100


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built"))


@pytest.fixture
def bundle(built, tmp_path):
    return copy_bundle(built, tmp_path)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(push, "CHUNK_BYTES", CHUNK)


def run(bundle, registry, limit_s=60.0, reference=REFERENCE):
    return push_bundle(
        list_files(bundle), reference, registry, Patience(limit_s, lambda: 0.0, lambda _: None)
    )


METHODS = [
    "get_manifest",
    "has_blob",
    "start_upload",
    "send_chunk",
    "after_chunk",
    "finish_upload",
    "put_manifest",
]


@pytest.mark.parametrize("method", METHODS)
def test_a_registry_that_is_away_once_gets_it_all(bundle, method):
    registry, whole = FakeRegistry(), FakeRegistry()
    registry.lose_next = [method]
    assert run(bundle, registry).digest == run(bundle, whole).digest
    assert (registry.blobs, registry.manifests) == (whole.blobs, whole.manifests)
    assert registry.received <= whole.received + CHUNK


def test_an_upload_that_is_gone_begins_anew(bundle):
    registry = FakeRegistry()
    registry.lose_next = ["after_chunk"]
    registry.find_upload = lambda upload: None
    run(bundle, registry)
    assert list(registry.manifests)


class Forgetful(FakeRegistry):
    """Takes one chunk, then is away and has forgotten it; ``keeps`` bytes of an upload are known afterwards."""

    def __init__(self, keeps):
        super().__init__()
        self.keeps, self.chunks = keeps, 0

    def send_chunk(self, upload, start, data):
        self.chunks += 1
        if start > (self.keeps or 0):
            raise RegistryLost("fake", "away")
        return super().send_chunk(upload, start, data)

    def find_upload(self, upload):
        if self.keeps is None:
            return None
        del self.uploads[upload][self.keeps :]
        return upload, self.keeps


@pytest.mark.parametrize("keeps", [None, 0, CHUNK // 2])
def test_a_registry_that_forgets_what_it_took_ends_the_push_with_a_reason(bundle, keeps):
    registry = Forgetful(keeps)
    with pytest.raises(RegistryRefused, match="lost bytes"):
        run(bundle, registry)
    assert registry.chunks <= 3 * (MOST_LOSSES + 1)
    assert not registry.manifests


def test_a_registry_that_forgets_a_few_times_gets_it_all(bundle):
    registry, whole = FakeRegistry(), FakeRegistry()
    registry.lose_next = ["after_chunk"] * MOST_LOSSES
    registry.find_upload = lambda upload: None
    assert run(bundle, registry).digest == run(bundle, whole).digest


@pytest.mark.parametrize("method", METHODS)
def test_the_next_push_sends_only_what_is_missing(bundle, method):
    registry, whole = FakeRegistry(), FakeRegistry()
    run(bundle, whole)
    registry.lose_next = [method] * 3
    with pytest.raises(RegistryLost):
        run(bundle, registry, limit_s=0)
    registry.lose_next.clear()
    assert not registry.manifests  # nobody sees half a bundle
    before = len(registry.blobs)
    done = run(bundle, registry)
    assert done.already_there >= min(before, done.already_there)
    assert registry.blobs == whole.blobs
    assert run(bundle, registry).sent_bytes == 0


def test_a_version_is_never_replaced_by_another_bundle(bundle):
    registry = FakeRegistry()
    run(bundle, registry)
    edit(bundle, lambda data: data.update(tolerance=0.5))
    with pytest.raises(RegistryRefused):
        run(bundle, registry)


@pytest.mark.parametrize("text", ["oci://h/small:2", "oci://h/other:1", "oci://h/small:latest"])
def test_a_reference_to_another_bundle_is_refused(bundle, text):
    registry = FakeRegistry()
    with pytest.raises(BundleError):
        run(bundle, registry, reference=parse_reference(text))
    assert not registry.blobs


def test_a_bundle_that_changes_meanwhile_is_not_published(bundle):
    registry, files = FakeRegistry(), list_files(bundle)
    (bundle / "labels.txt").write_text("a\nb\nc\nd\nf\n")
    with pytest.raises((BundleError, RegistryRefused)):
        push_bundle(files, REFERENCE, registry, Patience(0))
    assert not registry.manifests


def test_what_arrives_is_what_was_packed(bundle):
    registry, files = FakeRegistry(), list_files(bundle)
    digest = run(bundle, registry).digest
    packed = pack_manifest(files.bundle.manifest, files.sizes, files.hashes)
    assert registry.manifests["1"] == registry.manifests[digest] == packed.manifest
