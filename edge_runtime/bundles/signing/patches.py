"""Signatures of the patches that a box makes: by its own key, which it makes itself and which never leaves it.

A patch that another box has signed is then refused, unless its key is a trusted one; one whose signature was taken away
is refused only where signatures are required. The format is that of bundles. Pages for people are not covered: their
pictures may have to be forgotten later.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.stats import atomic_file
from calibration.stats.regular_file import open_regular, read_whole
from edge_runtime.bundles.signing.ec_keys import PrivateKey, load_private_key, make_key_pair, public_path
from edge_runtime.bundles.signing.envelope import (
    MAX_BYTES,
    Envelope,
    encode_for_signing,
    write_envelope,
    write_statement,
)
from edge_runtime.bundles.signing.rotate import rotate_key
from edge_runtime.bundles.signing.trust import Trust, load_trust
from edge_runtime.config.trust import TrustConfig
from edge_runtime.errors import BundleError, StateError

PATCH_SIGNATURE_FILE = "patch.sig"
_KEY_FILE = Path("keys") / "box.pem"
_COVERED = frozenset({".safetensors", ".json", ".onnx", ".xml", ".bin", ".pt"})
_MODE = 0o600
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PatchSigner:
    """Signs what this box makes, and checks what it uses."""

    own: PrivateKey
    trust: Trust
    """The box's own key is one of its keys."""

    def sign(self, folder: Path) -> None:
        """Sign a patch before it gets its place.

        Raises:
            StateError: the disk refuses.
        """
        try:
            payload = write_statement(folder.name, _hash_files(folder), PATCH_SIGNATURE_FILE)
            envelope = Envelope(payload, self.own.sign(encode_for_signing(payload)), self.own.public.id)
            atomic_file.write_atomically(folder / PATCH_SIGNATURE_FILE, write_envelope(envelope), _MODE)
        except OSError as err:
            raise StateError(f"cannot sign the patch in {folder}: {err.strerror}") from err

    def check(self, folder: Path) -> None:
        """Refuse a patch that nobody trusted has signed, or that is no longer what was signed.

        An unsigned one, such as one from before keys were trusted, is refused only where signatures are required.

        Raises:
            StateError: it is so, or it cannot be read.
        """
        try:
            signature = _read_signature(folder)
            if signature is None:
                if self.trust.require_signed:
                    raise StateError(f"the patch in {folder} is unsigned (trust.require_signed)")
                return
            signed = self.trust.verify(folder / PATCH_SIGNATURE_FILE, signature)
            if signed.files != _hash_files(folder):
                raise StateError(f"the patch in {folder} is not what was signed; it is not used")
        except BundleError as err:
            raise StateError(
                f"the patch in {folder} is not used: {err.found}; expected {err.expected}"
            ) from err
        except OSError as err:
            raise StateError(f"the patch in {folder} cannot be read: {err.strerror}") from err


def open_patch_signer(state_dir: Path, config: TrustConfig) -> PatchSigner | None:
    """The signer of a box; None where no key is trusted. The box's key is made when there is none, or it was revoked.

    Raises:
        KeyUnusable: a key file cannot be used.
        StateError: the disk refuses.
        ExtraMissing: ``cryptography`` is not installed.
    """
    if not config.keys:
        return None
    trust, path = load_trust(config), state_dir / _KEY_FILE
    own = _open_own_key(path)
    if own.public.id in trust.revoked:
        rotate_key(path)
        own = load_private_key(path)
    return PatchSigner(own, replace(trust, keys=(*trust.keys, own.public)))


def _open_own_key(path: Path) -> PrivateKey:
    if path.exists():
        return load_private_key(path)
    draft = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        for left in (draft, public_path(draft)):  # of a start that was cut off
            left.unlink(missing_ok=True)
        make_key_pair(draft)
        public_path(draft).replace(public_path(path))
        draft.replace(path)
        atomic_file.sync_directory(path.parent)
    except OSError as err:
        raise StateError(f"cannot make the key {path}: {err.strerror}; check space and permissions") from err
    return load_private_key(path)


def _read_signature(folder: Path) -> bytes | None:
    try:
        return read_whole(folder / PATCH_SIGNATURE_FILE, MAX_BYTES)
    except FileNotFoundError:
        return None


def _hash_files(folder: Path) -> dict[str, str]:
    return {path.name: _hash_file(path) for path in folder.iterdir() if path.suffix in _COVERED}


def _hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
