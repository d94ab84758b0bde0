"""Replaces a publisher's key by a new one; the old one stays next to it, for bundles that it signed."""

import os
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.bundles.signing.ec_keys import (
    PublicKey,
    load_private_key,
    make_key_pair,
    public_path,
    write_public_key,
)
from edge_runtime.errors import StateError

_SHORT_ID = 12


@dataclass(frozen=True, slots=True)
class Rotated:
    """A key that took another one's place."""

    old: PublicKey
    old_path: Path
    """Private key; the public one has ``.pub`` behind it, as the new one."""
    new: PublicKey
    new_path: Path


def rotate_key(path: Path) -> Rotated:
    """Make a new key at ``path``; the old one is kept as ``path`` + ``.`` + the first digits of its id.

    There is always a whole private key at ``path``, whenever this ends.

    Raises:
        KeyUnusable: there is no key at ``path``.
        StateError: the disk refuses.
    """
    old = load_private_key(path).public
    kept = path.with_name(f"{path.name}.{old.id[:_SHORT_ID]}")
    draft = path.with_name(f"{path.name}.new")
    try:
        for left in (
            draft,
            public_path(draft),
        ):  # of a rotation that was interrupted; nobody has seen that key
            left.unlink(missing_ok=True)
        new = make_key_pair(draft)
        if not kept.exists():
            os.link(path, kept)
        write_public_key(public_path(kept), old)
        draft.replace(path)
        public_path(draft).replace(public_path(path))
    except OSError as err:
        raise StateError(f"cannot rotate {path}: {err.strerror}; check space and permissions") from err
    return Rotated(old, kept, new, path)
