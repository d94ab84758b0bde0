"""A bundle as an OCI artifact: manifest and config of the CNCF ModelPack specification, one raw layer a file.

Raw layers need no unpacking on the box, are the same blob in every version that has the file, and go on one by one
after an interruption. Nothing here opens a file or a connection. The same bundle always gives the same texts.

Source: github.com/modelpack/model-spec, docs/spec.md, docs/config.md, docs/annotations.md, schema/config-schema.json.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from edge_runtime.bundles.foreign_json import BadJson, read_json
from edge_runtime.bundles.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, RelativePath
from edge_runtime.bundles.verify import MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES
from edge_runtime.system.lazy_adapter import LazyAdapter

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
DATASET_TYPE = "application/vnd.cncf.model.dataset.v1.raw"
LAYER_TYPES = (
    WEIGHT_TYPE,
    WEIGHT_CONFIG_TYPE,
    DATASET_TYPE,
    "application/vnd.cncf.model.doc.v1.raw",
    "application/vnd.cncf.model.code.v1.raw",
)
FILE_PATH = "org.cncf.model.filepath"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""As registries bound it."""

_PATH: LazyAdapter[str] = LazyAdapter(RelativePath)


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of a bundle as a blob."""

    path: str
    digest: str
    """``sha256:`` and 64 hexadecimal digits."""
    size: int

    @property
    def sha256(self) -> str:
        """The digest without its prefix."""
        return self.digest.removeprefix("sha256:")


@dataclass(frozen=True, slots=True)
class Packed:
    """What is pushed for one bundle besides its files."""

    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        """Digest of the manifest, which pins every byte of the bundle."""
        return find_digest(self.manifest)


class NotABundle(Exception):
    """An artifact in a registry is no bundle; the text says why."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Descriptor(_Part):
    mediaType: str  # noqa: N815 - the specification's word
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]
    annotations: dict[str, str] = {}


class _Manifest(_Part):
    schemaVersion: Literal[2]  # noqa: N815
    artifactType: str = ""  # noqa: N815
    config: _Descriptor
    layers: Annotated[tuple[_Descriptor, ...], Field(min_length=1, max_length=MAX_FILES), FailFast()]


def find_digest(data: bytes) -> str:
    """``sha256:`` and the hash of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def pack_manifest(bundle: Manifest, sizes: Mapping[str, int], hashes: Mapping[str, str]) -> Packed:
    """Config and manifest of a bundle.

    Args:
        bundle: What its ``bundle.yaml`` says.
        sizes: Bytes of every file by its path, ``bundle.yaml`` and ``bundle.sig`` included.
        hashes: SHA-256 (hexadecimal) of the same files.
    """
    paths = sorted(sizes)
    config = orjson.dumps(
        {
            "descriptor": {"name": bundle.name, "version": str(bundle.version)},
            "config": {"format": bundle.format, "capabilities": {"inputTypes": ["image"]}},
            "modelfs": {"type": "layers", "diffIds": [f"sha256:{hashes[path]}" for path in paths]},
        }
    )
    layers = [
        {
            "mediaType": _type_of(path, bundle),
            "digest": f"sha256:{hashes[path]}",
            "size": sizes[path],
            "annotations": {FILE_PATH: path},
        }
        for path in paths
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": find_digest(config), "size": len(config)},
        "layers": layers,
        "annotations": {
            "org.opencontainers.image.title": bundle.name,
            "org.opencontainers.image.version": str(bundle.version),
        },
    }
    return Packed(config, orjson.dumps(manifest))


def _type_of(path: str, bundle: Manifest) -> str:
    if path in (bundle.model, bundle.weights):
        return WEIGHT_TYPE
    return WEIGHT_CONFIG_TYPE if path in (MANIFEST_FILE, SIGNATURE_FILE, bundle.labels) else DATASET_TYPE


def read_manifest(data: bytes, most_bytes: int = MAX_TOTAL_BYTES) -> tuple[Layer, ...]:
    """The files that an artifact promises; nothing of them was loaded yet.

    Args:
        data: At most :data:`MAX_MANIFEST_BYTES`.
        most_bytes: How many bytes all files may have together.

    Raises:
        NotABundle: it is something else, or too large.
    """
    try:
        found = read_json(_Manifest, data)
    except BadJson as err:
        raise NotABundle(str(err)) from err
    if found.artifactType != ARTIFACT_TYPE or found.config.mediaType != CONFIG_TYPE:
        raise NotABundle(
            f"an artifact of another type ({(found.artifactType or found.config.mediaType)[:100]!r})"
        )
    layers = tuple(map(_read_layer, found.layers))
    _check_layers(layers, most_bytes)
    return layers


def _read_layer(layer: _Descriptor) -> Layer:
    if layer.mediaType not in LAYER_TYPES:
        raise NotABundle(f"a layer that is no raw file ({layer.mediaType[:100]!r})")
    path = layer.annotations.get(FILE_PATH, "")
    if path not in (MANIFEST_FILE, SIGNATURE_FILE):
        try:
            _PATH.adapter.validate_python(path)
        except ValidationError as err:
            raise NotABundle(f"a layer with a path that no bundle has ({path[:100]!r})") from err
    return Layer(path, layer.digest, layer.size)


def _check_layers(layers: Sequence[Layer], most_bytes: int) -> None:
    paths = {layer.path for layer in layers}
    if len(paths) != len(layers):
        raise NotABundle("two layers with the same path")
    if MANIFEST_FILE not in paths:
        raise NotABundle(f"no {MANIFEST_FILE} in it")
    if clash := next((path for path in paths if any(other.startswith(f"{path}/") for other in paths)), None):
        raise NotABundle(f"{clash!r} as a file and as a folder")
    if (total := sum(layer.size for layer in layers)) > most_bytes:
        raise NotABundle(f"{total} bytes, more than the {most_bytes} that may be")
    if len({(layer.digest, layer.size) for layer in layers}) != len({layer.digest for layer in layers}):
        raise NotABundle("one blob with two sizes")
