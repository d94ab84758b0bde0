"""The file format of a signature: OpenSSF model signing 1.0, as the ``model_signing`` tool writes and reads it.

A Sigstore bundle (JSON) holds a DSSE envelope; its payload is an in-toto statement that lists the SHA-256 of every
file. Only the format lives here: no key, no file.

Sources: DSSE 1.0 protocol (pre-authentication encoding), in-toto Statement v1, Sigstore bundle v0.3, and the predicate
``https://model_signing/signature/v1.0``.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, FailFast, Field

from edge_runtime.bundles.foreign_json import BadJson, read_json

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MAX_BYTES = 4 * 1024 * 1024
"""Of a signature file: 1,000 files take less than 0.5 MiB."""

_Shape = TypeVar("_Shape", bound=BaseModel)
_HASH = re.compile(r"[0-9a-f]{64}")


class BadEnvelope(Exception):
    """A file is no signature of this format; the text says why."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signature as it was read; nothing of it is verified yet."""

    payload: bytes
    signature: bytes
    key_id: str | None
    """SHA-256 of the signer's public key; None where the signer did not say."""


class _Part(BaseModel):
    """Fields that are not named here are ignored, as the specification of the predicate wants it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, defer_build=True)


class _PublicKey(_Part):
    hint: str | None = None


class _Material(_Part):
    publicKey: _PublicKey  # noqa: N815 - the format's own word


class _Signature(_Part):
    sig: str


class _Dsse(_Part):
    payload: str
    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815
    signatures: Annotated[tuple[_Signature, ...], Field(min_length=1, max_length=1), FailFast()]


class _Bundle(_Part):
    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]  # noqa: N815
    verificationMaterial: _Material  # noqa: N815
    dsseEnvelope: _Dsse  # noqa: N815


class _Subject(_Part):
    digest: dict[str, str]


class _Resource(_Part):
    name: str
    algorithm: Literal["sha256"]
    digest: str


class _Serialization(_Part):
    method: Literal["files"]


class _Predicate(_Part):
    serialization: _Serialization
    resources: Annotated[tuple[_Resource, ...], FailFast()]


class _Statement(_Part):
    kind: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[_Subject, ...], Field(min_length=1, max_length=1), FailFast()]
    predicateType: Literal["https://model_signing/signature/v1.0"]  # noqa: N815
    predicate: _Predicate


def write_statement(name: str, files: Mapping[str, str], ignored: str) -> bytes:
    """The payload that is signed.

    Args:
        name: What is signed, for people.
        files: SHA-256 (hexadecimal) of every file by its path.
        ignored: Path of the signature itself, which cannot be in the list.
    """
    ordered = sorted(files.items())
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root_digest([digest for _, digest in ordered])}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [ignored],
            },
            "resources": [
                {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in ordered
            ],
        },
    }
    return orjson.dumps(statement)


def read_statement(payload: bytes) -> dict[str, str]:
    """The SHA-256 of every signed file by its path. Call it only after the signature was verified.

    Raises:
        BadEnvelope: it says something else, or contradicts itself.
    """
    statement = _read(_Statement, payload)
    resources = statement.predicate.resources
    files = {one.name: one.digest for one in resources}
    if len(files) != len(resources) or not all(_HASH.fullmatch(digest) for digest in files.values()):
        raise BadEnvelope("a file that is listed twice or without a SHA-256")
    if statement.subject[0].digest.get("sha256") != _root_digest([one.digest for one in resources]):
        raise BadEnvelope("a digest of all files that is not that of its list")
    return files


def _root_digest(digests: list[str]) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in digests)).hexdigest()


def encode_for_signing(payload: bytes) -> bytes:
    """The bytes that the key signs: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def write_envelope(envelope: Envelope) -> bytes:
    """The signature file."""
    key = {} if envelope.key_id is None else {"hint": envelope.key_id}
    return orjson.dumps(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": key, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(envelope.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(envelope.signature).decode(), "keyid": ""}],
            },
        }
    )


def read_envelope(data: bytes) -> Envelope:
    """Read a signature file of at most :data:`MAX_BYTES`.

    Raises:
        BadEnvelope: it is none.
    """
    bundle = _read(_Bundle, data)
    dsse = bundle.dsseEnvelope
    try:
        payload = base64.b64decode(dsse.payload, validate=True)
        signature = base64.b64decode(dsse.signatures[0].sig, validate=True)
    except (binascii.Error, ValueError) as err:
        raise BadEnvelope(f"no base64 ({err})") from err
    return Envelope(payload, signature, bundle.verificationMaterial.publicKey.hint)


def _read(shape: type[_Shape], data: bytes) -> _Shape:
    if len(data) > MAX_BYTES:
        raise BadEnvelope(f"more than {MAX_BYTES} bytes")
    try:
        return read_json(shape, data)
    except BadJson as err:
        raise BadEnvelope(str(err)) from err
