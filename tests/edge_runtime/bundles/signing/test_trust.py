"""What the operator trusts is checked when a bundle is opened, before its manifest is parsed."""

import hashlib
import subprocess

import pytest

from edge_runtime.bundles.signing.ec_keys import load_public_key
from edge_runtime.bundles.signing.trust import Trust, load_trust
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config.trust import TrustConfig
from edge_runtime.errors import BundleError, KeyUnusable
from tests.support.bundle_builds import edit, replace_file
from tests.support.signed_bundles import Publisher, build_small, copy_bundle


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory):
    return build_small(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    return Publisher(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def bundle(unsigned, publisher, tmp_path):
    return publisher.sign(copy_bundle(unsigned, tmp_path))


def trust_in(*publishers, **more):
    return Trust(tuple(load_public_key(one.public) for one in publishers), require_signed=True, **more)


def refusal(bundle, trust):
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle, trust)
    return caught.value


def test_a_signed_bundle_names_the_key(bundle, publisher):
    assert load_bundle(bundle, trust_in(publisher)).signed_by == publisher.key_id


def test_without_trust_a_signature_is_not_looked_at(bundle):
    assert load_bundle(bundle).signed_by is None
    (bundle / "bundle.sig").write_bytes(b"rubbish")
    assert load_bundle(bundle).signed_by is None


def test_an_unsigned_bundle_is_refused_only_where_signatures_are_required(unsigned, publisher):
    assert refusal(unsigned, trust_in(publisher)).found == "unsigned"
    key = load_public_key(publisher.public)
    assert load_bundle(unsigned, Trust((key,))).signed_by is None


def test_a_signature_of_another_key_is_refused(bundle, publisher, tmp_path):
    other = Publisher(tmp_path / "other")
    error = refusal(bundle, trust_in(other))
    assert publisher.key_id in error.found
    assert other.key_id[:12] in error.expected


def test_a_hint_of_a_trusted_key_does_not_help_a_foreign_signature(bundle, publisher, tmp_path):
    other = Publisher(tmp_path / "other")
    other.sign(bundle)
    signature = bundle / "bundle.sig"
    signature.write_bytes(signature.read_bytes().replace(other.key_id.encode(), publisher.key_id.encode()))
    assert "changed" in refusal(bundle, trust_in(publisher)).found


@pytest.mark.parametrize("with_hint", [True, False])
def test_a_revoked_key_counts_no_longer(bundle, publisher, with_hint):
    if not with_hint:
        signature = bundle / "bundle.sig"
        signature.write_bytes(signature.read_bytes().replace(f'"hint":"{publisher.key_id}"'.encode(), b""))
        assert load_bundle(bundle, trust_in(publisher)).signed_by == publisher.key_id
    trust = trust_in(publisher, revoked=frozenset({publisher.key_id}))
    assert f"revoked key {publisher.key_id}" in refusal(bundle, trust).found


def test_a_changed_byte_is_refused_in_every_file(bundle, publisher):
    for path in sorted(one for one in bundle.rglob("*") if one.is_file()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        refusal(bundle, trust_in(publisher))
        path.write_bytes(whole)
    assert load_bundle(bundle, trust_in(publisher)).signed_by


def test_a_file_that_was_changed_with_its_hash_is_refused(bundle, publisher):
    replace_file(bundle, "labels.txt", b"a\nb\nc\nd\nf\n")
    assert "signing" in refusal(bundle, trust_in(publisher)).found


def test_a_manifest_is_not_parsed_before_its_signature_is_checked(bundle, publisher):
    (bundle / "bundle.yaml").write_text("{")
    assert "signing" in refusal(bundle, trust_in(publisher)).found


def test_a_signature_that_covers_other_files_is_refused(bundle, publisher, tmp_path):
    """A publisher's tool signed a folder with more in it than the manifest lists."""
    from edge_runtime.bundles.manifest import Manifest
    from edge_runtime.bundles.signing.trust import Signed

    manifest = load_bundle(bundle).manifest
    text = (bundle / "bundle.yaml").read_bytes()
    own = hashlib.sha256(text).hexdigest()
    signed = Signed("k", {**manifest.files, "bundle.yaml": own, "extra.txt": "0" * 64})
    with pytest.raises(BundleError, match=r"extra\.txt"):
        Trust().check_manifest(bundle, Manifest.model_validate(manifest), text, signed)
    Trust().check_manifest(bundle, manifest, text, Signed("k", {**manifest.files, "bundle.yaml": own}))


def test_a_version_below_the_least_is_refused(bundle):
    assert load_bundle(bundle, Trust(min_version={"small": 1, "other": 9}))
    assert refusal(bundle, Trust(min_version={"small": 2})).found == "version 1"


def test_another_manifest_than_the_approved_one_is_refused(bundle):
    actual = hashlib.sha256((bundle / "bundle.yaml").read_bytes()).hexdigest()
    assert load_bundle(bundle, Trust(manifest_sha256={"small": actual}))
    assert actual in refusal(bundle, Trust(manifest_sha256={"small": "0" * 64})).found
    edit(bundle, lambda data: data.update(tolerance=0.9))
    refusal(bundle, Trust(manifest_sha256={"small": actual}))


def test_the_configured_trust_reads_its_keys(bundle, publisher, tmp_path):
    config = TrustConfig(keys=(publisher.public,), require_signed=True)
    assert load_bundle(bundle, load_trust(config)).signed_by == publisher.key_id
    with pytest.raises(KeyUnusable):
        load_trust(TrustConfig(keys=(tmp_path / "gone.pem",)))


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_what_is_no_key_is_refused(content, tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(KeyUnusable):
        load_public_key(path)


def test_a_private_key_is_not_taken_for_a_public_one(publisher):
    with pytest.raises(KeyUnusable) as caught:
        load_public_key(publisher.private)
    assert caught.value.found == "a private key"


@pytest.mark.integration
@pytest.mark.parametrize("kind", [["RSA", "-pkeyopt", "rsa_keygen_bits:2048"], ["ED25519"]])
def test_keys_of_other_kinds_are_refused(kind, tmp_path):
    path = tmp_path / "key.pem"
    public = subprocess.run(
        ["openssl", "pkey", "-pubout"],
        input=subprocess.run(
            ["openssl", "genpkey", "-algorithm", *kind], capture_output=True, check=True
        ).stdout,
        capture_output=True,
        check=True,
    ).stdout
    path.write_bytes(public)
    with pytest.raises(KeyUnusable, match="another kind"):
        load_public_key(path)
