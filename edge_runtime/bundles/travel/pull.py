"""Pulls a bundle: its manifest, then every blob by digest, then its folder, which is verified before it gets its place.

Whatever interrupts it, the next pull goes on where this one ended; what is refused leaves nothing behind.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from calibration.stats.atomic_file import sync_directory
from edge_runtime.bundles.signing.renew import renew_signature
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.travel.model_pack import Layer, NotABundle, find_digest, read_manifest
from edge_runtime.bundles.travel.partial import Counts, Partial, open_partial
from edge_runtime.bundles.travel.reference import Reference
from edge_runtime.bundles.travel.registry import Patience, Registry, ignore_bytes
from edge_runtime.bundles.verify import MAX_TOTAL_BYTES, Bundle, load_bundle
from edge_runtime.errors import BundleError, RegistryRefused
from edge_runtime.system.disk import as_state_error, require_space

PARTIAL_FOLDER = ".pulling"
_MOST_KNOWN = 4
_MODE, _FOLDER_MODE = 0o644, 0o755
_ASK = "Ask the publisher which bundle is meant."


@dataclass(frozen=True, slots=True)
class Order:
    """What is pulled, and within which limits."""

    reference: Reference
    trust: Trust = field(default_factory=Trust)
    most_bytes: int = MAX_TOTAL_BYTES
    known: tuple[Path, ...] = ()
    """Bundles that are here already, likeliest first: files that they have are not loaded."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """A bundle that arrived and is as it should be."""

    bundle: Bundle
    digest: str
    """Of the artifact: with it the reference always names these bytes."""
    counts: Counts


@contextmanager
def pull_into(
    order: Order,
    registry: Registry,
    partial_folder: Path,
    patience: Patience,
    on_bytes: Callable[[int], None] = ignore_bytes,
    on_size: Callable[[int], None] = ignore_bytes,
) -> Iterator[Pulled]:
    """A pulled and verified bundle in a folder that lasts as long as the context.

    ``on_bytes`` hears how many more bytes are here, ``on_size`` once how many there will be.

    The blobs are removed once the context ends well, or when the bundle is refused; after any other end they stay.

    Raises:
        BundleError: it is not what the reference, the digests or the trust say.
        RegistryLost: the registry is away for longer than the patience; the next pull goes on.
        RegistryRefused: there is no such bundle, or it may not be read.
        StateError: the disk refuses or is too small.
    """
    with open_partial(partial_folder) as partial:
        manifest = patience.repeat(lambda: _get_manifest(order.reference, registry))
        layers, counts = _read(order, manifest), Counts()
        patience.expect(sum(layer.size for layer in layers), len(layers))  # kept bytes too: they may be wrong
        blobs = {layer.digest: layer for layer in layers}.values()
        loaded = sum(blob.size for blob in blobs)
        copied = sum(layer.size for layer in layers) - loaded
        require_space(partial.folder, partial.missing_bytes(blobs) + copied)
        on_size(loaded)
        try:
            for blob in blobs:
                partial.seed(blob, order.known)
                partial.fetch(blob, registry, patience, counts, on_bytes)
            with _assemble(partial, layers) as folder, _name_reference(order.reference, folder):
                bundle = load_bundle(folder, order.trust)
                _check_reference(order.reference, bundle)
                yield Pulled(bundle, find_digest(manifest), counts)
        except BundleError:
            partial.clear(layers)
            raise
        partial.clear(layers)


def place_bundle(pulled: Pulled, folder: Path) -> Path:
    """Move a pulled bundle to ``folder/<name>/<version>`` by one rename; both must be on one file system.

    Raises:
        BundleError: that version is there with other content. One that is there with the same content stays, and gets
            the signature of this one if a trusted key made it.
        StateError: the disk refuses.
    """
    bundle = pulled.bundle
    target = folder / bundle.manifest.name / str(bundle.manifest.version)
    with as_state_error(target):
        if target.exists() or target.is_symlink():
            if load_bundle(target).manifest.sha256 == bundle.manifest.sha256:
                renew_signature(bundle, target)
                return target
            fix = "Bundles never change: pull it to another folder, or remove the one that is there."
            raise BundleError(
                target, "it is there with other content", "a version that is not there yet", fix
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        bundle.path.rename(target)
        sync_directory(target.parent)
        sync_directory(folder)
    return target


def find_known(folder: Path, name: str) -> tuple[Path, ...]:
    """The newest versions of a bundle below ``folder/<name>``."""
    found = [path for path in (folder / name).glob("*/") if path.name.isdecimal() and not path.is_symlink()]
    return tuple(sorted(found, key=lambda path: int(path.name), reverse=True)[:_MOST_KNOWN])


@contextmanager
def _name_reference(reference: Reference, folder: Path) -> Iterator[None]:
    """Refusals of a bundle name what a person asked for: the folder is gone when they are read."""
    try:
        yield
    except BundleError as err:
        inside = Path(err.path)
        if not inside.is_relative_to(folder):
            raise
        member = inside.relative_to(folder).as_posix()
        place = str(reference) if member == "." else f"{reference}: {member}"
        raise BundleError(place, err.found, err.expected, err.fix) from err


def _get_manifest(reference: Reference, registry: Registry) -> bytes:
    manifest = registry.get_manifest(reference.digest or reference.tag or "")
    if manifest is None:
        raise RegistryRefused(str(reference), "it is not there; check the name and the version")
    return manifest


def _read(order: Order, manifest: bytes) -> tuple[Layer, ...]:
    wanted, found = order.reference.digest, find_digest(manifest)
    if wanted is not None and wanted != found:
        raise BundleError(
            str(order.reference), f"the registry gives {found}", wanted, "Do not use this registry."
        )
    try:
        return read_manifest(manifest, order.most_bytes)
    except NotABundle as err:
        expected = "a bundle that 'edge-runtime bundle push' pushed"
        raise BundleError(str(order.reference), str(err), expected, _ASK) from err


def _check_reference(reference: Reference, bundle: Bundle) -> None:
    """A tag can be moved, and a repository filled with something else, with write access to the registry."""
    manifest = bundle.manifest
    if reference.name != manifest.name or reference.version not in (None, manifest.version):
        expected = f"{reference.name}/{reference.version or manifest.version}"
        raise BundleError(str(reference), f"the bundle in it is {bundle.id}", expected, _ASK)


@contextmanager
def _assemble(partial: Partial, layers: Sequence[Layer]) -> Iterator[Path]:
    """The folder of a bundle, made of complete blobs; on the disk, and gone at the end unless it was moved."""
    folder = partial.assembly
    with as_state_error(folder):
        folder.mkdir(mode=_FOLDER_MODE)
        for layer in layers:
            path = folder / layer.path
            path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            _link(partial.path_of(layer), path)
        for place, _, _ in os.walk(folder):
            sync_directory(Path(place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(blob: Path, path: Path) -> None:
    """Its own file when another path has the same bytes; a copy where the file system has no links."""
    blob.chmod(_MODE)
    if blob.stat().st_nlink == 1:
        with suppress(OSError):
            path.hardlink_to(blob)
            return
    shutil.copyfile(blob, path)
    path.chmod(_MODE)
    with path.open("rb") as file:
        os.fsync(file.fileno())
