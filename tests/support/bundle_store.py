"""Bundles to install, archives of them, and what a store holds."""

import hashlib
import shutil
import tarfile
from pathlib import Path

from tests.support.bundle_builds import edit
from tests.support.paths import ROOT

SMALL = ROOT / "tests" / "data" / "16cd0a8" / "bundles" / "photos" / "1"
"""A real bundle of 0.1.0, name ``photos``."""


def make_bundle(folder: Path, *, version: int = 1, name: str = "photos", note: str = "", **keys) -> Path:
    """A whole bundle with that name, version and note, in ``folder``."""
    shutil.copytree(SMALL, folder)
    edit(folder, lambda data: data.update(name=name, version=version, provenance={"source": note}, **keys))
    return folder


def pack(bundle: Path, archive: Path, below: str = "") -> Path:
    """The bundle as an archive; gzipped when its name says so."""
    mode = "w:gz" if archive.name.endswith("gz") else "w"
    with tarfile.open(archive, mode) as target:
        target.add(bundle, below or ".")
    return archive


def look(root: Path) -> dict[str, str]:
    """Everything in a store but its lock: relative path -> digest of the content, ``folder`` or ``link``."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = "link"
        elif path.is_dir():
            found[name] = "folder"
        elif name != ".lock":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
