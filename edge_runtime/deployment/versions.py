"""Which version of a bundle to open: the configured one, or with ``latest`` the newest that can be used.

A folder that is copied onto the box is half there for a while, and a copy may break off. The daemon then goes on with a
version that is whole, says so, and looks again when the folder changes.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from edge_runtime.bundles.manifest import MANIFEST_FILE
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.errors import BundleError, EdgeRuntimeError

VERSION = re.compile(r"[1-9][0-9]{0,8}")
MOST_TRIED = 5
"""With ``latest``: every one that cannot be used costs a start its time."""
_MOST_LOOKED_AT = 2000

Fingerprint = tuple[tuple[str, int, int], ...]
"""Relative path, size and time of change of every file; differs when something was copied."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Versions that are newer than the one in use and cannot be used."""

    root: Path
    """Folder of the versions."""
    reason: str
    """Why the newest one is refused."""
    seen: Fingerprint
    """Of all versions, from before they were tried."""


def find_bundle(root: Path, version: int | Literal["latest"]) -> Path:
    """The folder of one version below a bundle's root, or the root itself when it is one.

    Raises:
        BundleError: there is none, or the disk does not let us look.
    """
    return list_candidates(root, version)[0]


def newest_first(installed: Collection[int]) -> list[int]:
    """The order where nothing is known about the versions."""
    return sorted(installed, reverse=True)


def list_candidates(
    root: Path,
    version: int | Literal["latest"],
    order: Callable[[Collection[int]], Sequence[int]] = newest_first,
) -> list[Path]:
    """The folders to try, best first: one, unless ``latest`` leaves a choice, and ``MOST_TRIED`` at most.

    Args:
        root: Folder of the versions, or of one.
        version: A number, or ``latest``.
        order: Gives those of the installed versions that may be opened with ``latest``, best first.

    Raises:
        BundleError: there is none, none may be opened, or the disk does not let us look.
    """
    try:
        if (root / MANIFEST_FILE).is_file():
            return [root]
        if not root.exists():
            fix = "Install it (edge-runtime bundle install --help), or correct the path or the name."
            raise BundleError(root, "this folder does not exist", "the folder of a bundle", fix)
        found = list_versions(root)
    except OSError as err:
        found_instead = f"cannot be read: {err.strerror}"
        raise BundleError(root, found_instead, "a bundle folder", "Check the path.") from err
    have = ", ".join(str(number) for number in sorted(found)) or "none"
    if not found or (version != "latest" and version not in found):
        raise BundleError(root, f"versions there: {have}", f"version {version}", "Install that version.")
    if version != "latest":
        return [found[version]]
    chosen = order(found)
    if not chosen:
        fix = "Install another version, or write the number of one into 'version'."
        raise BundleError(root, f"only versions that were refused: {have}", "one that was not refused", fix)
    return [found[number] for number in chosen[:MOST_TRIED]]


def list_versions(root: Path) -> dict[int, Path]:
    """The folders of versions by number.

    Raises:
        OSError: the disk does not let us look.
    """
    folders = root.glob("*/") if root.is_dir() else ()
    return {int(path.name): path for path in folders if VERSION.fullmatch(path.name)}


def load_version(path: Path, trust: Trust | None = None) -> Bundle:
    """Open and verify the folder of a version in the folder of its bundle, ``<name>/<version>``.

    Raises:
        BundleError: as ``load_bundle``; or its manifest has another name or number than its folders say, by which
            versions are chosen, trusted and refused.
    """
    bundle = load_bundle(path, trust)
    expected = f"{path.parent.name}/{path.name}"
    if bundle.id != expected:
        fix = f"Move it to {bundle.id}, or install it with 'edge-runtime bundle install'."
        raise BundleError(
            path / MANIFEST_FILE, f"name and version {bundle.id}", f"{expected} as its folders", fix
        )
    return bundle


def load_from(root: Path, path: Path, trust: Trust | None = None) -> Bundle:
    """``load_version`` of one below ``root``, which may be the folder of one version itself, however it is called."""
    return load_bundle(path, trust) if path == root else load_version(path, trust)


def name_bundle(root: Path) -> str:
    """The name of the bundle whose versions, or whose one version, lie there."""
    return (root.parent if (root / MANIFEST_FILE).is_file() else root).name


def read_versions(root: Path) -> frozenset[int]:
    """The numbers of the versions that are there; none where the disk does not let us look."""
    try:
        return frozenset(list_versions(root))
    except OSError:
        return frozenset()


def take_fingerprint(root: Path) -> Fingerprint:
    """The state of all versions, for comparison; of what cannot be read, nothing."""
    return tuple(sorted(_look(root)))


def _look(root: Path) -> Iterator[tuple[str, int, int]]:
    try:
        for folder in list_versions(root).values():
            yield from islice(_look_at(folder), _MOST_LOOKED_AT)
    except OSError:
        return


def _look_at(folder: Path) -> Iterator[tuple[str, int, int]]:
    yield folder.name, -1, 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(place) / name).lstat()
            except OSError:
                continue
            yield str(Path(place, name).relative_to(folder.parent)), status.st_size, status.st_mtime_ns


def find_mended(
    skipped: Mapping[str, tuple[Skipped, int]], find_trust: Callable[[str], Trust | None]
) -> dict[str, Skipped]:
    """Those of some models (with the version in use) that are mended, each with the state that its folder has now.

    Raises:
        KeyUnusable, ExtraMissing: by ``find_trust``, which gives the trust of a model.
    """
    found: dict[str, Skipped] = {}
    for name, (one, used) in skipped.items():
        seen = take_fingerprint(one.root)
        if is_mended(one, used, find_trust(name)):
            found[name] = replace(one, seen=seen)
    return found


def is_mended(skipped: Skipped, used: int, trust: Trust | None = None) -> bool:
    """Whether one of the skipped versions, or a newer one, has changed and is whole and trusted now."""
    if take_fingerprint(skipped.root) == skipped.seen:
        return False
    try:
        newer = [path for number, path in list_versions(skipped.root).items() if number > used]
    except OSError:
        return False
    return any(_is_whole(path, trust) for path in newer)


def _is_whole(path: Path, trust: Trust | None) -> bool:
    try:
        load_version(path, trust)
    except BundleError:
        return False
    return True


class NewerVersions:
    """Looks for versions above the one in use that are whole and trusted.

    One that is not is looked at again when its folder or the trust changes: it may be half copied, or not signed yet.
    """

    def __init__(self, root: Path, find_trust: Callable[[], Trust | None] = lambda: None) -> None:
        """``find_trust`` gives the trust of the configuration in force, and may raise EdgeRuntimeError."""
        self._root, self._find_trust = root, find_trust
        self._unusable: dict[int, tuple[Fingerprint, str]] = {}
        self._trust: Trust | None = None
        self._trust_problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the newest version that was passed over cannot be used; None when none was."""
        if self._trust_problem is not None:
            return self._trust_problem
        if not self._unusable:
            return None
        newest = max(self._unusable)
        return f"version {newest} is passed over: {self._unusable[newest][1]}"

    def find_newest(self, used: int, refused: Collection[int]) -> int | None:
        """The newest above ``used`` that is whole, trusted and not refused; None when there is none.

        Raises:
            OSError: the disk does not let us look.
        """
        self._trust_problem = None
        found = list_versions(self._root)
        newer = sorted(number for number in found if number > used and number not in refused)
        self._unusable = {number: seen for number, seen in self._unusable.items() if number in newer}
        if not newer or not self._follow_trust():
            return None
        for number in reversed(newer):
            state = tuple(sorted(_look_at(found[number])))
            before = self._unusable.get(number)
            if before is not None and before[0] == state:
                continue
            try:
                load_version(found[number], self._trust)
            except BundleError as err:
                self._unusable[number] = state, err.reason_text
            else:
                self._unusable.pop(number, None)
                return number
        return None

    def find_newer(self, used: int) -> frozenset[int]:
        """The numbers above ``used``; nothing of them is read.

        Raises:
            OSError: the disk does not let us look.
        """
        return frozenset(number for number in list_versions(self._root) if number > used)

    def _follow_trust(self) -> bool:
        """Whether the trust is known: nothing is opened without it."""
        try:
            trust = self._find_trust()
        except EdgeRuntimeError as err:
            self._trust_problem = str(err)
            return False
        if trust != self._trust:
            self._trust, self._unusable = trust, {}
        return True
