"""The operator's trust: which keys may sign, and which versions may run. Checked whenever a bundle is opened.

The signature is checked before the manifest is parsed, and the manifest's own hashes must be those that were signed:
so every byte of the bundle is covered, and each is hashed once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.bundles.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest
from edge_runtime.bundles.signing.ec_keys import PublicKey, load_public_key
from edge_runtime.bundles.signing.envelope import (
    BadEnvelope,
    Envelope,
    encode_for_signing,
    read_envelope,
    read_statement,
)
from edge_runtime.config.trust import TrustConfig
from edge_runtime.errors import BundleError

_ASK = "Get the bundle from a publisher whose key trust.keys names."
_COPY_AGAIN = "Copy the bundle again from its publisher."
_SHOWN = 5
_ID_SHOWN = 64
"""Characters of an id; other tools may write others, of any length."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that a trusted key made."""

    key_id: str
    files: Mapping[str, str]
    """SHA-256 of every signed file by its path, the manifest's own included."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What a bundle must be before it is used; without keys signatures are not looked at."""

    keys: tuple[PublicKey, ...] = ()
    require_signed: bool = False
    revoked: frozenset[str] = frozenset()
    min_version: Mapping[str, int] = field(default_factory=dict)
    manifest_sha256: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the file ``bundle.yaml`` by name of the bundle."""

    def check_signature(self, path: Path, signature: bytes | None, manifest: bytes) -> Signed | None:
        """Check who signed a manifest whose bytes are not parsed yet; None where nobody need have.

        Raises:
            BundleError: unsigned, or not by a trusted key, or not these bytes.
        """
        if signature is None:
            if self.require_signed:
                expected = f"a {SIGNATURE_FILE} (trust.require_signed)"
                raise BundleError(path, "unsigned", expected, _ASK)
            return None
        if not self.keys:
            return None
        signed = self.verify(path / SIGNATURE_FILE, signature)
        if signed.files.get(MANIFEST_FILE) != hashlib.sha256(manifest).hexdigest():
            raise BundleError(path / MANIFEST_FILE, "changed after signing", "as signed", _COPY_AGAIN)
        return signed

    def verify(self, at: Path, signature: bytes) -> Signed:
        """What a trusted key has signed; the files themselves are not looked at.

        Args:
            at: Where the signature is, for messages.
            signature: The content of that file.

        Raises:
            BundleError: it is no signature, or not one of a trusted key.
        """
        try:
            envelope = read_envelope(signature)
            key = self._find_signer(at, envelope)
            files = read_statement(envelope.payload)
        except BadEnvelope as err:
            expected = "an OpenSSF model signature of all files with sha256"
            raise BundleError(at, str(err), expected, "Sign it again.") from err
        return Signed(key.id, files)

    def check_manifest(self, path: Path, manifest: Manifest, text: bytes, signed: Signed | None) -> None:
        """Check what a manifest says; ``text`` is the file it was read from.

        Raises:
            BundleError: other files than those that were signed, too old, or another bundle than the operator wants.
        """
        if signed is not None:
            listed = {**manifest.files, MANIFEST_FILE: signed.files[MANIFEST_FILE]}
            if differing := sorted(dict(listed.items() ^ signed.files.items())):
                found = (
                    f"files that the signature does not cover as they are: {', '.join(differing[:_SHOWN])}"
                )
                raise BundleError(path, found, "the signed files", _COPY_AGAIN)
        least = self.min_version.get(manifest.name)
        if least is not None and manifest.version < least:
            expected = f"version {least} or newer (trust.min_version.{manifest.name})"
            raise BundleError(path, f"version {manifest.version}", expected, "Install a newer version.")
        wanted = self.manifest_sha256.get(manifest.name)
        actual = hashlib.sha256(text).hexdigest()
        if wanted is not None and wanted != actual:
            expected = f"{wanted} (trust.manifest_sha256.{manifest.name})"
            fix = "Install the approved bundle, or approve this one."
            raise BundleError(path / MANIFEST_FILE, f"sha256 {actual}", expected, fix)

    def _find_signer(self, at: Path, envelope: Envelope) -> PublicKey:
        """The key that made it; the hint only says which one to try."""
        if envelope.key_id in self.revoked:
            raise _revoked(at, envelope.key_id or "")
        tried = [key for key in self.keys if envelope.key_id in (None, key.id)]
        if not tried:
            found = f"signed by the unknown key {(envelope.key_id or '')[:_ID_SHOWN]}"
            known = ", ".join(key.id[:12] for key in self.keys[:_SHOWN])
            raise BundleError(at, found, f"a key of trust.keys ({known})", _ASK)
        data = encode_for_signing(envelope.payload)
        signer = next((key for key in tried if key.is_signature(envelope.signature, data)), None)
        if signer is None:
            raise BundleError(at, "changed: the key did not sign this", "an unchanged signature", _COPY_AGAIN)
        if signer.id in self.revoked:
            raise _revoked(at, signer.id)
        return signer


def load_trust(config: TrustConfig) -> Trust:
    """The configured trust, with its keys read.

    Raises:
        KeyUnusable: a key file cannot be used.
        ExtraMissing: there are keys, and ``cryptography`` is not installed.
    """
    return Trust(
        tuple(load_public_key(path) for path in config.keys),
        config.require_signed,
        frozenset(config.revoked),
        config.min_version,
        config.manifest_sha256,
    )


def _revoked(at: Path, key_id: str) -> BundleError:
    return BundleError(at, f"signed by the revoked key {key_id}", "a key that is not in trust.revoked", _ASK)
