"""Files that belong to a pushed bundle: a patch, a baseline, a bill of materials; attached as OCI referrers.

Each is an artifact whose ``subject`` is the bundle's digest, so that a patch names the very bundle it fits, and that
digest stays. Nothing that is attached is ever used by itself.

Source: OCI distribution specification 1.1, "Listing Referrers" and, for registries that do not know them, "Referrers
Tag Schema"; OCI image specification 1.1, "Guidelines for Artifact Usage".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Annotated, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, FailFast, Field

from edge_runtime.bundles.foreign_json import BadJson, read_json
from edge_runtime.bundles.travel.model_pack import INDEX_TYPE, MANIFEST_TYPE, find_digest
from edge_runtime.bundles.travel.push import ANSWERS_OF_BLOB, push_blob
from edge_runtime.bundles.travel.registry import Patience, Registry, ignore_bytes
from edge_runtime.errors import BundleError, RegistryRefused

Kind = Literal["patch", "baseline", "sbom"]
TYPES: Mapping[str, str] = MappingProxyType(
    {
        "patch": "application/vnd.edge-runtime.patch.v1.safetensors",
        "baseline": "application/vnd.edge-runtime.baseline.v1.safetensors",
        "sbom": "application/vnd.cyclonedx+json",
    }
)
TITLE = "org.opencontainers.image.title"
MAX_BYTES = 256 * 1024 * 1024
"""Of one attached file."""
MAX_ATTACHED = 256
_EMPTY_TYPE, _EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
_ANSWERS_OF_ARTIFACT = 3
"""Its manifest, and the list under a tag, read and written."""
_Shape = TypeVar("_Shape", bound=BaseModel)
_DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that is attached to a bundle."""

    kind: str
    """One of ``Kind``, or the artifact type of something that another tool has attached."""
    name: str
    digest: str
    """Of its artifact."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Descriptor(_Part):
    mediaType: str  # noqa: N815 - the specification's word
    digest: Annotated[str, Field(pattern=_DIGEST_PATTERN)]
    size: Annotated[int, Field(ge=0, le=MAX_BYTES)]
    artifactType: str = ""  # noqa: N815
    annotations: dict[str, str] = {}


class _Index(_Part):
    schemaVersion: Literal[2]  # noqa: N815
    manifests: Annotated[tuple[_Descriptor, ...], Field(max_length=MAX_ATTACHED), FailFast()]


class _Artifact(_Part):
    subject: _Descriptor
    layers: Annotated[tuple[_Descriptor, ...], Field(min_length=1, max_length=1), FailFast()]


def attach_file(
    registry: Registry, subject: bytes, kind: Kind, name: str, data: bytes, patience: Patience
) -> str:
    """Attach a file to the bundle with the manifest ``subject``; the same file again changes nothing.

    Returns:
        The digest of its artifact.

    Raises:
        RegistryLost: the registry is away for longer than the patience.
        RegistryRefused: it does not take it.
    """
    manifest = _write_artifact(subject, kind, name, data)
    digest = find_digest(manifest)
    patience.expect(len(data) + len(manifest), 2 * ANSWERS_OF_BLOB + _ANSWERS_OF_ARTIFACT)
    for blob in (data, _EMPTY):
        push_blob(registry, find_digest(blob), len(blob), BytesIO(blob), patience, ignore_bytes)
    is_listed = patience.repeat(lambda: registry.put_manifest(digest, manifest, MANIFEST_TYPE))
    if not is_listed:
        _list_by_tag(registry, subject, manifest, TYPES[kind], name, patience)
    return digest


def list_attached(registry: Registry, digest: str, patience: Patience) -> tuple[Attached, ...]:
    """What is attached to the bundle with this digest.

    Raises:
        RegistryLost: the registry is away for longer than the patience.
        RegistryRefused: its list cannot be read.
    """
    index = patience.repeat(lambda: registry.get_referrers(digest))
    if index is None:
        index = patience.repeat(lambda: registry.get_manifest(_tag_of(digest)))
    kinds = {media_type: kind for kind, media_type in TYPES.items()}
    return tuple(
        Attached(kinds.get(one.artifactType, one.artifactType), one.annotations.get(TITLE, ""), one.digest)
        for one in _read_index(digest, index).manifests
    )


def load_attached(registry: Registry, subject: str, attached: Attached, patience: Patience) -> bytes:
    """The bytes of an attached file, checked against every digest.

    Raises:
        BundleError: they are others, or too many, or belong to another bundle.
        RegistryLost: the registry is away for longer than the patience.
        RegistryRefused: it is not there.
    """
    manifest = patience.repeat(lambda: registry.get_manifest(attached.digest))
    if manifest is None:
        raise RegistryRefused(attached.digest, "it is listed and not there")
    artifact = _read(_Artifact, manifest, attached.digest)
    layer = artifact.layers[0]
    if find_digest(manifest) != attached.digest or artifact.subject.digest != subject:
        raise _foreign(attached.digest, "an artifact of another bundle or with another digest")
    data = patience.repeat(lambda: _load(registry, layer))
    if find_digest(data) != layer.digest:
        raise _foreign(attached.digest, "other bytes than its digest names")
    return data


def _load(registry: Registry, layer: _Descriptor) -> bytes:
    data = bytearray()
    with registry.open_blob(layer.digest, 0) as blob:
        for chunk in blob.chunks:
            data += chunk
            if len(data) > layer.size:
                raise _foreign(layer.digest, "more bytes than its manifest says")
    return bytes(data)


def _write_artifact(subject: bytes, kind: Kind, name: str, data: bytes) -> bytes:
    return orjson.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": TYPES[kind],
            "config": {"mediaType": _EMPTY_TYPE, "digest": find_digest(_EMPTY), "size": len(_EMPTY)},
            "layers": [
                {
                    "mediaType": TYPES[kind],
                    "digest": find_digest(data),
                    "size": len(data),
                    "annotations": {TITLE: name},
                }
            ],
            "subject": {"mediaType": MANIFEST_TYPE, "digest": find_digest(subject), "size": len(subject)},
            "annotations": {TITLE: name},
        }
    )


def _list_by_tag(
    registry: Registry, subject: bytes, manifest: bytes, artifact_type: str, name: str, patience: Patience
) -> None:
    """Add it to the list under a tag that older registries need. Of two that do so at once one may be lost."""
    tag = _tag_of(find_digest(subject))
    there = _read_index(tag, patience.repeat(lambda: registry.get_manifest(tag))).manifests
    digest = find_digest(manifest)
    if any(one.digest == digest for one in there):
        return
    own = _Descriptor(
        mediaType=MANIFEST_TYPE,
        digest=digest,
        size=len(manifest),
        artifactType=artifact_type,
        annotations={TITLE: name},
    )
    manifests = [one.model_dump() for one in (*there, own)]
    index = orjson.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests})
    patience.repeat(lambda: registry.put_manifest(tag, index, INDEX_TYPE))


def _read_index(where: str, data: bytes | None) -> _Index:
    return _Index(schemaVersion=2, manifests=()) if data is None else _read(_Index, data, where)


def _read(shape: type[_Shape], data: bytes, where: str) -> _Shape:
    try:
        return read_json(shape, data)
    except BadJson as err:
        raise _unreadable(where, str(err)) from err


def _unreadable(where: str, found: str) -> RegistryRefused:
    expected = f"a list of at most {MAX_ATTACHED} artifacts, or one of them, as the OCI specification has it"
    fix = "check what other tools have attached to the bundle"
    return RegistryRefused(
        where, f"what the registry lists cannot be read: {found}; expected {expected}; {fix}"
    )


def _tag_of(digest: str) -> str:
    return digest.replace(":", "-")


def _foreign(where: str, found: str) -> BundleError:
    return BundleError(where, found, "the attached file", "Attach it again.")
