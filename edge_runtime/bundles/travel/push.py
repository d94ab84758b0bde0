"""Pushes a bundle: its files, then its config, then the manifest that names them all under the version's tag.

A blob that the registry has is not sent again, so a push that was interrupted goes on when it is called again; within
one call an upload goes on at the byte that arrived last. Until the manifest is there nobody sees anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from edge_runtime.bundles.manifest import SIGNATURE_FILE
from edge_runtime.bundles.travel.files import BundleFiles
from edge_runtime.bundles.travel.model_pack import (
    MANIFEST_TYPE,
    NotABundle,
    find_digest,
    pack_manifest,
    read_manifest,
)
from edge_runtime.bundles.travel.reference import Reference
from edge_runtime.bundles.travel.registry import Patience, Registry, ignore_bytes
from edge_runtime.errors import BundleError, RegistryLost, RegistryRefused

CHUNK_BYTES = 8 * 1024 * 1024
ANSWERS_OF_BLOB, _ANSWERS_OF_MANIFEST = 3, 2
"""Whether it is there, a place for it, its last chunk. The chunks before have time for their bytes."""
MOST_LOSSES = 5
"""So often a registry may forget bytes of one blob that it had taken, as one that is restarted does."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A bundle that is in a registry now."""

    digest: str
    sent_bytes: int
    already_there: int
    """Blobs that were there before."""


def push_bundle(
    files: BundleFiles,
    reference: Reference,
    registry: Registry,
    patience: Patience,
    on_bytes: Callable[[int], None] = ignore_bytes,
) -> Pushed:
    """Push a verified bundle to the repository of its name, under its version.

    Raises:
        BundleError: the reference names another bundle, or a file changed meanwhile.
        RegistryLost: the registry is away for longer than the patience.
        RegistryRefused: it does not take it, or has another bundle under this version: a version never changes.
    """
    bundle = files.bundle
    if (reference.name, reference.version) != (bundle.manifest.name, bundle.manifest.version):
        expected = f"oci://{reference.host}/.../{bundle.manifest.name}:{bundle.manifest.version}"
        raise BundleError(
            str(reference), f"a reference to another bundle than {bundle.id}", expected, "Correct it."
        )
    packed = pack_manifest(bundle.manifest, files.sizes, files.hashes)
    size = sum(files.sizes.values()) + len(packed.config) + len(packed.manifest)
    patience.expect(size, ANSWERS_OF_BLOB * (len(files.sizes) + 1) + _ANSWERS_OF_MANIFEST)
    tag = str(bundle.manifest.version)
    there = patience.repeat(lambda: registry.get_manifest(tag))
    if there is not None and not _is_same_bundle(there, packed.manifest):
        reason = f"{tag} is there with other content ({find_digest(there)}); raise the version of the bundle"
        raise RegistryRefused(str(reference), reason)
    sent = already = 0
    by_digest = {f"sha256:{digest}": path for path, digest in sorted(files.hashes.items())}
    for digest, path in by_digest.items():
        with files.open(path) as content:
            done = push_blob(registry, digest, files.sizes[path], content, patience, on_bytes)
        sent, already = sent + done, already + (done == 0)
    config = find_digest(packed.config)
    sent += push_blob(registry, config, len(packed.config), BytesIO(packed.config), patience, on_bytes)
    files.check()
    patience.repeat(lambda: registry.put_manifest(tag, packed.manifest, MANIFEST_TYPE))
    return Pushed(packed.digest, sent, already)


def _is_same_bundle(there: bytes, new: bytes) -> bool:
    """Whether two artifacts differ at most in the signature: a publisher signs again when a key is rotated."""
    try:
        one, other = (
            {layer for layer in read_manifest(data) if layer.path != SIGNATURE_FILE} for data in (there, new)
        )
    except NotABundle:
        return False
    return one == other


def push_blob(
    registry: Registry,
    digest: str,
    size: int,
    content: BinaryIO,
    patience: Patience,
    on_bytes: Callable[[int], None],
) -> int:
    """Send one blob unless it is there; returns the bytes that were sent.

    Raises:
        RegistryLost: the registry is away for longer than the patience.
        RegistryRefused: it does not take it, or forgets again and again what it had taken.
    """
    upload: str | None = None
    at = sent = losses = 0
    while True:
        patience.check()
        try:
            if upload is None and registry.has_blob(digest):
                return sent
            if upload is None:
                upload, at = registry.start_upload(), 0
            content.seek(at)
            data = content.read(CHUNK_BYTES)
            if at + len(data) < size:
                upload = registry.send_chunk(upload, at, data)
            else:
                registry.finish_upload(upload, digest, data)
            at, sent = at + len(data), sent + len(data)
            patience.note_progress()
            on_bytes(len(data))
            if at >= size:
                return sent
        except RegistryLost as lost:
            patience.wait(lost)
            taken = at
            upload, at = _find_again(registry, upload, at, patience)
            losses += at < taken
            if losses > MOST_LOSSES:  # each try sends bytes, which would look like progress for ever
                raise _forgets(lost, digest, size) from lost


def _forgets(lost: RegistryLost, digest: str, size: int) -> RegistryRefused:
    found = f"it lost bytes that it had taken {MOST_LOSSES + 1} times, of {digest} ({size} bytes)"
    fix = "check its storage and its log; several copies behind one address must share their uploads"
    return RegistryRefused(lost.registry, f"{found}; {fix}")


def _find_again(
    registry: Registry, upload: str | None, at: int, patience: Patience
) -> tuple[str | None, int]:
    """Where an upload goes on after the registry was away; None: from the start."""
    if upload is None or at == 0:
        return None, 0
    known = upload
    found = patience.repeat(lambda: registry.find_upload(known))
    return (None, 0) if found is None else found
