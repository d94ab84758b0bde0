"""What is installed: every version below the root, whole, damaged or not trusted."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.bundles.manifest import MANIFEST_FILE
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.verify import Bundle
from edge_runtime.deployment.store.in_use import InUse
from edge_runtime.deployment.store.keep import Held
from edge_runtime.deployment.versions import list_versions, load_version
from edge_runtime.errors import BundleError, StateError
from edge_runtime.system.model_formats import ModelFormat

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MOST_LOOKED_AT = 5000


@dataclass(frozen=True, slots=True)
class InstalledVersion:
    """One version and its state."""

    held: Held
    path: Path
    roles: tuple[str, ...]
    """What models use it as, such as ``active of parts``."""
    format: ModelFormat | None
    """None when it is damaged."""
    problem: str | None
    """Why it cannot be used: what is damaged, or why it is not trusted; None: it can."""

    @property
    def is_whole(self) -> bool:
        """Whether every file has its hash, trusted or not."""
        return self.format is not None


def list_installed(root: Path, in_use: InUse, trust: Trust | None = None) -> list[InstalledVersion]:
    """All versions by name and number; every file is hashed, and signatures are checked where keys are trusted.

    Raises:
        StateError: the root cannot be read.
    """
    return [_look(held, path, in_use, trust) for held, path in find_held(root)]


def find_held(root: Path) -> list[tuple[Held, Path]]:
    """All versions by name and number, with sizes; nothing is verified. No root: none.

    Raises:
        StateError: the root cannot be read.
    """
    try:
        return list(_find(root))
    except OSError as err:
        raise StateError(f"cannot read {err.filename or root}: {err.strerror}; check the path") from err


def _find(root: Path) -> Iterator[tuple[Held, Path]]:
    names = sorted(root.iterdir()) if root.exists() else []
    for folder in names:
        if not NAME.fullmatch(folder.name) or not folder.is_dir() or (folder / MANIFEST_FILE).exists():
            continue
        for number, path in sorted(list_versions(folder).items()):
            with suppress(FileNotFoundError):  # removed just now
                yield Held(folder.name, number, measure_folder(path), path.stat().st_mtime), path


def measure_folder(path: Path) -> int:
    """Bytes of the files below; of what is no bundle, as much as was looked at.

    Raises:
        OSError: it cannot be read.
    """
    total = 0
    for looked_at, found in enumerate(path.rglob("*")):
        status = found.lstat()
        total += 0 if found.is_dir() else status.st_size
        if looked_at >= _MOST_LOOKED_AT:
            break
    return total


def _look(held: Held, path: Path, in_use: InUse, trust: Trust | None) -> InstalledVersion:
    found, problem = _load(path, trust)
    if found is None and trust is not None:
        found, _ = _load(path, None)  # a version that nobody trusts is whole all the same
    return InstalledVersion(
        held, path, in_use.of(path), None if found is None else found.manifest.format, problem
    )


def _load(path: Path, trust: Trust | None) -> tuple[Bundle | None, str | None]:
    try:
        return load_version(path, trust), None
    except BundleError as err:
        return None, str(err)
