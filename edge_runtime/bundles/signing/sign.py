"""Signs a bundle: verifies it, and writes ``bundle.sig`` into its folder."""

import hashlib
from pathlib import Path

from calibration.stats import atomic_file
from edge_runtime.bundles.manifest import MANIFEST_FILE, SIGNATURE_FILE
from edge_runtime.bundles.signing.ec_keys import PrivateKey
from edge_runtime.bundles.signing.envelope import (
    Envelope,
    encode_for_signing,
    write_envelope,
    write_statement,
)
from edge_runtime.bundles.verify import load_bundle, read_bounded
from edge_runtime.config.strict_yaml import MAX_BYTES
from edge_runtime.errors import BundleError
from edge_runtime.system.disk import as_state_error

SIGNATURE_MODE = 0o644
"""Like the other files of the bundle: the daemon's user is seldom the one who signs."""


def sign_bundle(path: Path, key: PrivateKey) -> Path:
    """Sign every file of a bundle; an older signature is replaced.

    Returns:
        The signature file.

    Raises:
        BundleError: the bundle is not as its manifest says.
        StateError: the disk refuses; an older signature is still there.
    """
    bundle = load_bundle(path)
    text = read_bounded(path / MANIFEST_FILE, MAX_BYTES)
    files = {**bundle.manifest.files, MANIFEST_FILE: hashlib.sha256(text).hexdigest()}
    payload = write_statement(bundle.id, files, SIGNATURE_FILE)
    envelope = Envelope(payload, key.sign(encode_for_signing(payload)), key.public.id)
    target = path / SIGNATURE_FILE
    with as_state_error(target):
        atomic_file.write_atomically(target, write_envelope(envelope), new_mode=SIGNATURE_MODE)
    if load_bundle(path).manifest != bundle.manifest:
        raise BundleError(path, "it changed while it was signed", "a bundle at rest", "Sign it again.")
    return target
