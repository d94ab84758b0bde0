"""Installs one bundle, from a folder or an archive, whole or not at all.

1. The source is written, within limits, into a work folder of the store; every file is brought to the disk.
2. ``load_bundle`` verifies it there. Nothing of it but names of files was read before.
3. It must be for this box, no downgrade unless that is allowed, fit the budget, and not be there with other content.
4. One rename puts it into place, and the folder above is brought to the disk.
5. Versions that the rules no longer keep are removed.

Until step 4 the store is as it was, however the process ends: the work folder is swept by the next command.
"""

import os
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from calibration.stats.atomic_file import sync_directory
from calibration.stats.regular_file import read_whole
from edge_runtime.bundles.manifest import MANIFEST_FILE
from edge_runtime.bundles.requirements import check_requirements
from edge_runtime.bundles.signing.renew import renew_signature
from edge_runtime.bundles.signing.trust import Trust
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.config import strict_yaml
from edge_runtime.deployment.store.archive import EXPECTED, unpack_archive
from edge_runtime.deployment.store.folder_writer import FOLDER_MODE, MAX_FOLDERS_ABOVE, FolderWriter, Limits
from edge_runtime.deployment.store.in_use import InUse
from edge_runtime.deployment.store.installed import find_held, measure_folder
from edge_runtime.deployment.store.keep import MIB, Choice, Held, Keep, choose_removals
from edge_runtime.deployment.store.place import (
    WAIT_S,
    give_to_owner,
    make_root,
    make_work_folder,
    move,
    open_to_change,
)
from edge_runtime.deployment.store.read_folder import copy_folder
from edge_runtime.deployment.store.remove import take_out_all
from edge_runtime.deployment.versions import list_versions
from edge_runtime.errors import BundleError, StateError
from edge_runtime.system.disk import as_state_error


class Outcome(StrEnum):
    """What an installation did."""

    INSTALLED = "installed"
    ALREADY_THERE = "already installed"
    REPAIRED = "repaired"
    """The version was there, damaged or without the signature that is asked for; the same one has replaced it."""


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed version."""

    outcome: Outcome
    name: str
    version: int
    path: Path
    size_bytes: int
    manifest_sha256: str
    signed_by: str | None = None
    """Id of the trusted key; None: signatures were not looked at."""
    removed: tuple[str, ...] = ()
    """Ids of versions that had to go by the rules."""

    @property
    def id(self) -> str:
        """Name and version, e.g. ``parts/4``."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the store allows and keeps; the default keeps everything, allows no downgrade and trusts everybody."""

    keep: Keep = field(default_factory=Keep)
    allow_downgrade: bool = False
    in_use: InUse = field(default_factory=InUse)
    trust: Trust | None = None
    """Who must have signed, see ``bundles.signing``; None: signatures are not looked at."""
    limits: Limits = field(default_factory=Limits)


def install(source: Path, root: Path, rules: Rules | None = None, *, wait_s: float = WAIT_S) -> Installed:
    """Install the bundle in ``source`` below ``root``.

    Args:
        source: A folder, .tar or .tar.gz with one bundle, at its top or below one or two folders.
        root: The store, ``<state_dir>/bundles``; made where it is missing.
        rules: What is allowed and kept.
        wait_s: For another command that changes the store.

    Returns:
        What was done. A bundle that is there with the same content is no error.

    Raises:
        BundleError: the source is no whole bundle, has what no bundle may have, is not for this box, or is there with
            other content.
        StateError: the disk refuses or is full, or the bundle does not fit into the budget.
    """
    rules = rules or Rules()
    if not source.exists():
        raise BundleError(source, "it does not exist", EXPECTED, "Check the path.")
    make_root(root)
    with open_to_change(root, wait_s), make_work_folder(root) as work:
        bundle = _receive(source, root, work, rules)
        check_requirements(bundle.manifest, source)
        target = root / bundle.manifest.name / str(bundle.manifest.version)
        outcome = _find_outcome(source, target, bundle, rules)
        choice = _make_room(source, root, bundle, rules, outcome)
        with as_state_error(target):
            if outcome is Outcome.ALREADY_THERE:
                renew_signature(bundle, target)
            _put(bundle.path, target, work, outcome)
        take_out_all(root, choice)
    manifest, removed = bundle.manifest, tuple(one.id for one in choice.removed)
    size = measure_folder(target)
    return Installed(
        outcome,
        manifest.name,
        manifest.version,
        target,
        size,
        manifest.sha256,
        bundle.signed_by,
        removed,
    )


def _receive(source: Path, root: Path, work: Path, rules: Rules) -> Bundle:
    """The source in the work folder, on the disk and verified."""
    content = work / "content"
    writer = FolderWriter(content, source, root, rules.limits)
    if source.is_dir():
        copy_folder(locate_bundle(source, source), writer)
    else:
        unpack_archive(source, writer)
    writer.settle()
    found = locate_bundle(content, source)
    try:
        bundle = load_bundle(found, rules.trust)
    except BundleError as err:
        raise _name_source(err, source, found) from err
    with as_state_error(root):
        os.utime(found)  # of the folder: when it was installed
        sync_directory(found)
    return bundle


def locate_bundle(folder: Path, source: Path) -> Path:
    """The folder with the manifest: this one, or below one or two that hold nothing else.

    Raises:
        BundleError: there is none; ``source`` is in the message.
    """
    here = folder
    try:
        for _ in range(MAX_FOLDERS_ABOVE + 1):
            inside = list(here.iterdir())
            if any(path.name == MANIFEST_FILE for path in inside):
                return here
            if len(inside) != 1 or inside[0].is_symlink() or not inside[0].is_dir():
                break
            here = inside[0]
    except OSError as err:
        raise BundleError(source, f"cannot be read: {err.strerror}", EXPECTED, "Check the path.") from err
    found = f"no {MANIFEST_FILE} at its top or below one or two folders"
    raise BundleError(source, found, EXPECTED, "Install one bundle a time: the folder <name>/<version>.")


def _name_source(err: BundleError, source: Path, found: Path) -> BundleError:
    """The same refusal about what a person has: the work folder is gone when it is read."""
    inside = Path(err.path)
    member = str(inside.relative_to(found)) if inside.is_relative_to(found) else "."
    return BundleError(source if member == "." else f"{source}: {member}", err.found, err.expected, err.fix)


def _find_outcome(source: Path, target: Path, bundle: Bundle, rules: Rules) -> Outcome:
    """What installing it does, or why it may not be.

    Raises:
        BundleError: it is there with other content, or lower than the newest.
    """
    above = target.parent
    if above.is_symlink() or (above.exists() and not above.is_dir()) or (above / MANIFEST_FILE).exists():
        fix = "Move it away, or copy the bundle to where the link leads."
        raise BundleError(above, "a link, a file or one bundle", "a folder of versions", fix)
    if target.is_symlink() or target.exists():
        return _compare(source, target, bundle, rules.trust)
    try:
        newest = max(list_versions(above), default=0)
    except OSError as err:
        raise StateError(f"cannot read {above}: {err.strerror}; check permissions") from err
    if bundle.manifest.version < newest and not rules.allow_downgrade:
        found = f"version {bundle.manifest.version} of {bundle.manifest.name}, lower than {newest}, which is installed"
        fix = (
            "Raise the version, set bundles.allow_downgrade in the configuration, or install it on the box with "
            "'edge-runtime bundle install --allow-downgrade'."
        )
        raise BundleError(source, found, f"a version from {newest} on", fix)
    return Outcome.INSTALLED


def _compare(source: Path, target: Path, bundle: Bundle, trust: Trust | None) -> Outcome:
    try:
        there = load_bundle(target, trust)
    except BundleError as err:
        if _is_same_manifest(target, bundle.path):
            return Outcome.REPAIRED
        found = f"{bundle.id} is there and cannot be used ({err.found})"
        fix = "Remove that version first."
        raise BundleError(source, found, "a version that is not there yet", fix) from err
    if there.manifest.sha256 == bundle.manifest.sha256:
        return Outcome.ALREADY_THERE
    fix = "Bundles never change: raise the version, or remove the one that is there."
    raise BundleError(
        source, f"{bundle.id} is there with other content", "a version that is not there yet", fix
    )


def _is_same_manifest(one: Path, other: Path) -> bool:
    """Byte for byte: nothing of a damaged bundle is parsed."""
    try:
        first, second = (read_whole(path / MANIFEST_FILE, strict_yaml.MAX_BYTES) for path in (one, other))
    except OSError:
        return False
    return first == second


def _make_room(source: Path, root: Path, bundle: Bundle, rules: Rules, outcome: Outcome) -> Choice:
    """What has to go once it is there.

    Raises:
        StateError: it does not fit into the budget.
    """
    if outcome is Outcome.ALREADY_THERE:
        return Choice((), 0, 0)
    with as_state_error(root):
        size = measure_folder(bundle.path)
    manifest, there = bundle.manifest, find_held(root)
    others = [one for one, _ in there if one.id != bundle.id]
    spared = {one.id for one, path in there if rules.in_use.of(path)} | {bundle.id}
    new = Held(manifest.name, manifest.version, size, time.time())
    choice = choose_removals([*others, new], rules.keep, spared)
    if choice.over_bytes:
        raise StateError(
            f"{source}: {bundle.id} needs {size / MIB:.1f} MiB, {choice.over_bytes / MIB:.1f} MiB more than "
            "bundles.max_mib leaves with the versions that must stay; raise it, or remove versions"
        )
    return choice


def _put(bundle: Path, target: Path, work: Path, outcome: Outcome) -> None:
    """Move the verified folder into place: one rename, also of a name that is new.

    A damaged version is moved out before: cut off in between, the version is not there.
    """
    if outcome is Outcome.ALREADY_THERE:
        return
    if outcome is Outcome.REPAIRED:
        move(target, work / "damaged")
    if target.parent.exists():
        move(bundle, target)
        return
    above = work / target.parent.name
    above.mkdir()
    above.chmod(FOLDER_MODE)
    give_to_owner(above, work.parent)
    move(bundle, above / target.name)
    move(above, target.parent)
