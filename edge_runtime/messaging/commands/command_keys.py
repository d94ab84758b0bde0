"""Ed25519 keys and JSON Web Signatures of commands; the one file that imports ``joserfc``.

Sources: RFC 7515 (JWS, compact form), RFC 8037 and RFC 9864 (``EdDSA``, ``Ed25519``), RFC 7638 (the id of a key is its
thumbprint).
"""

import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from calibration.stats.regular_file import read_regular
from edge_runtime.errors import CommandError, ExtraMissing, KeyUnusable
from edge_runtime.messaging.commands.token import has_critical_header

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

MAX_KEY_BYTES = 16 * 1024
_ALGORITHMS = ["EdDSA", "Ed25519"]
"""The first is what libraries of today write; the second is its name since RFC 9864."""
# joserfc warns of the name EdDSA; it is the one that the libraries of most callers know.
warnings.filterwarnings("ignore", "EdDSA is deprecated", module="joserfc")
_FIX = "Make one with: edge-runtime keys make FILE --for commands"


@dataclass(frozen=True, slots=True)
class CommandKey:
    """The public key of a caller."""

    id: str
    """RFC 7638 thumbprint, SHA-256 in base64url."""
    _key: "OKPKey"

    def open(self, token: bytes) -> bytes:
        """The signed content of a compact JWS.

        Raises:
            CommandError: it is not signed by this key.
        """
        from joserfc import jws
        from joserfc.errors import JoseError

        if has_critical_header(token):  # joserfc reads lists of everything there
            raise CommandError("the header has 'crit'; no extension is understood here")
        try:
            return bytes(jws.deserialize_compact(token, self._key, algorithms=_ALGORITHMS).payload)
        except (JoseError, ValueError, TypeError) as err:
            raise CommandError(
                "the signature is not right: it was made by another key, or the request was changed"
            ) from err


def sign(content: bytes, private: "OKPKey") -> bytes:
    """A compact JWS over ``content``."""
    from joserfc import jws

    header = {"alg": "Ed25519", "kid": private.thumbprint()}
    return jws.serialize_compact(header, content, private, algorithms=["Ed25519"]).encode()


def make_pems() -> tuple[str, bytes, bytes]:
    """A new pair of keys: its id, the private and the public half in PEM.

    Raises:
        ExtraMissing: ``joserfc`` is not installed.
    """
    key = _library().generate_key("Ed25519")
    return key.thumbprint(), key.as_pem(private=True), key.as_pem(private=False)


def load_command_key(path: Path) -> CommandKey:
    """Read the public key of a caller: PEM or JSON Web Key.

    Raises:
        KeyUnusable: the file cannot be read, holds something else, or a private key.
        ExtraMissing: ``joserfc`` is not installed.
    """
    key = _load(path)
    if key.is_private:
        fix = "Name its public half (FILE.pub); the private one stays with the caller."
        raise KeyUnusable(path, "a private key", "a public key (Ed25519)", fix)
    return CommandKey(key.thumbprint(), key)


def load_signing_key(path: Path) -> "OKPKey":
    """Read the private key of a caller.

    Raises:
        KeyUnusable: the file cannot be read, or holds something else.
        ExtraMissing: ``joserfc`` is not installed.
    """
    key = _load(path)
    if not key.is_private:
        raise KeyUnusable(path, "a public key", "the private key (Ed25519) of the caller", _FIX)
    return key


def _load(path: Path) -> "OKPKey":
    library = _library()
    try:
        data = read_regular(path, MAX_KEY_BYTES + 1)
    except OSError as err:
        found = f"cannot be read: {err.strerror or err}"
        raise KeyUnusable(path, found, "an Ed25519 key (PEM or JWK)", "Check the path.") from err
    from joserfc.errors import JoseError

    key = None
    with suppress(JoseError, ValueError, TypeError, KeyError):
        key = library.import_key(orjson.loads(data) if data.lstrip().startswith(b"{") else data)
    if key is None or len(data) > MAX_KEY_BYTES or key.curve_name != "Ed25519":
        raise KeyUnusable(path, "no Ed25519 key", "an Ed25519 key (PEM or JWK)", _FIX)
    return key


def _library() -> "type[OKPKey]":
    try:
        from joserfc.jwk import OKPKey
    except ImportError as err:
        raise ExtraMissing("signed commands", "signing") from err
    return OKPKey
