"""Gives a bundle that is here the newer signature of the same bundle: a publisher signs again when a key is rotated."""

from pathlib import Path

from calibration.stats import atomic_file
from edge_runtime.bundles.manifest import SIGNATURE_FILE
from edge_runtime.bundles.signing.envelope import MAX_BYTES
from edge_runtime.bundles.signing.sign import SIGNATURE_MODE
from edge_runtime.bundles.verify import Bundle, read_bounded


def renew_signature(newer: Bundle, here: Path) -> bool:
    """Copy the signature of ``newer`` to the same bundle in ``here``; whether it was another one.

    Only one that a trusted key has made: else anybody could take away the use of a bundle.

    Raises:
        BundleError: it cannot be read.
        OSError: the disk refuses; the old one is still there.
    """
    if newer.signed_by is None:
        return False
    signature = read_bounded(newer.path / SIGNATURE_FILE, MAX_BYTES)
    target = here / SIGNATURE_FILE
    if target.exists() and read_bounded(target, MAX_BYTES) == signature:
        return False
    atomic_file.write_atomically(target, signature, new_mode=SIGNATURE_MODE)
    return True
