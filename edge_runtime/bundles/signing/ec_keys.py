"""Elliptic curve keys in PEM files; the one file that imports ``cryptography``.

New keys are on P-256. Keys on P-384 and P-521 are taken as well, as the ``model_signing`` tool takes them.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calibration.stats import atomic_file
from calibration.stats.regular_file import read_regular
from edge_runtime.errors import ExtraMissing, KeyUnusable, StateError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

MAX_PEM_BYTES = 64 * 1024
_PRIVATE_MODE, _PUBLIC_MODE = 0o600, 0o644
_P256_BITS, _P384_BITS = 256, 384
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_FIX = "Make one with: edge-runtime keys make FILE"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies signatures."""

    id: str
    """SHA-256 of its PEM text (SubjectPublicKeyInfo), hexadecimal: the hint in signatures of ``model_signing``."""
    pem: bytes
    _key: "ec.EllipticCurvePublicKey"

    def is_signature(self, signature: bytes, data: bytes) -> bool:
        """Whether ``signature`` is one of this key over ``data``."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            self._key.verify(signature, data, ec.ECDSA(_hash_of(self._key.curve)))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key that signs."""

    public: PublicKey
    _key: "ec.EllipticCurvePrivateKey"

    def sign(self, data: bytes) -> bytes:
        """An ECDSA signature (DER); another one each time."""
        from cryptography.hazmat.primitives.asymmetric import ec

        return self._key.sign(data, ec.ECDSA(_hash_of(self._key.curve)))


def load_public_key(path: Path) -> PublicKey:
    """Read a public key.

    Raises:
        KeyUnusable: the file cannot be read, or holds something else.
        ExtraMissing: ``cryptography`` is not installed.
    """
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _read(path)
    if b"PRIVATE KEY" in data:
        fix = "Name its public half; the private one stays with the publisher."
        raise KeyUnusable(path, "a private key", "a public key (PEM)", fix)
    try:
        return _public(path, load_pem_public_key(data))
    except (ValueError, UnsupportedAlgorithm) as err:
        raise KeyUnusable(path, "no public key", "a public key (PEM)", _FIX) from err


def load_private_key(path: Path) -> PrivateKey:
    """Read a private key without a passphrase.

    Raises:
        KeyUnusable: the file cannot be read, or holds something else.
        ExtraMissing: ``cryptography`` is not installed.
    """
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path), password=None)
    except TypeError as err:
        fix = "Write it without one: openssl ec -in FILE -out NEW"
        raise KeyUnusable(path, "a key with a passphrase", "a private key without one", fix) from err
    except (ValueError, UnsupportedAlgorithm) as err:
        raise KeyUnusable(path, "no private key", "a private key (PEM)", _FIX) from err
    public = _public(path, key.public_key())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return PrivateKey(public, key)


def make_key_pair(path: Path) -> PublicKey:
    """Write a new private key to ``path``, mode 0600, and its public half to ``path`` + ``.pub``.

    Raises:
        KeyUnusable: one of the two files is there.
        StateError: the disk refuses.
        ExtraMissing: ``cryptography`` is not installed.
    """
    _require_library()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    public = _public(path, key.public_key())
    write_key_pair(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), public.pem)
    return public


def write_key_pair(path: Path, private_pem: bytes, public_pem: bytes) -> None:
    """Write a private key to ``path``, mode 0600, and its public half to ``path`` + ``.pub``.

    Raises:
        KeyUnusable: one of the two files is there.
        StateError: the disk refuses.
    """
    if public_path(path).exists():
        raise _is_there(public_path(path))
    _write_new(path, private_pem, _PRIVATE_MODE)
    _write_new(public_path(path), public_pem, _PUBLIC_MODE)


def write_public_key(path: Path, key: PublicKey) -> None:
    """Write a public key again; what is there is replaced.

    Raises:
        OSError: the disk refuses.
    """
    atomic_file.write_atomically(path, key.pem, new_mode=_PUBLIC_MODE)


def public_path(path: Path) -> Path:
    """Where the public half of a private key lies."""
    return path.with_name(f"{path.name}.pub")


def _public(path: Path, key: Any) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        found = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__
        raise KeyUnusable(path, f"a key of another kind ({found})", "an EC key on P-256", _FIX)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(pem).hexdigest(), pem, key)


def _hash_of(curve: "ec.EllipticCurve") -> "hashes.HashAlgorithm":
    from cryptography.hazmat.primitives import hashes

    if curve.key_size == _P256_BITS:
        return hashes.SHA256()
    return hashes.SHA384() if curve.key_size == _P384_BITS else hashes.SHA512()


def _read(path: Path) -> bytes:
    try:
        data = read_regular(path, MAX_PEM_BYTES + 1)
    except OSError as err:
        found = f"cannot be read: {err.strerror or err}"
        raise KeyUnusable(path, found, "a key file (PEM)", "Check the path.") from err
    if len(data) > MAX_PEM_BYTES:
        raise KeyUnusable(path, f"more than {MAX_PEM_BYTES} bytes", "a key file (PEM)", "Check the path.")
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        with os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb"
        ) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as err:
        raise _is_there(path) from err
    except OSError as err:
        raise StateError(f"cannot write {path}: {err.strerror}; check space and permissions") from err


def _is_there(path: Path) -> KeyUnusable:
    fix = "Name another file, or rotate it: edge-runtime keys rotate FILE"
    return KeyUnusable(path, "it is there already", "a new file", fix)


def _require_library() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as err:
        raise ExtraMissing("signatures", "signing") from err
