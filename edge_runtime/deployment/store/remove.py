"""Versions go: by name, or by the rules of what is kept. Each is renamed into a work folder first."""

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.deployment.store.in_use import InUse
from edge_runtime.deployment.store.installed import find_held
from edge_runtime.deployment.store.keep import Choice, Keep, choose_removals
from edge_runtime.deployment.store.place import WAIT_S, make_work_folder, move, open_to_change
from edge_runtime.errors import BundleError
from edge_runtime.system.disk import as_state_error


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did."""

    removed: tuple[str, ...]
    """Ids, e.g. ``parts/3``."""
    freed_bytes: int
    kept_bytes: int
    over_bytes: int
    """Above the budget, by versions that are in use or the newest of their name."""


def remove(root: Path, name: str, version: int, in_use: InUse, *, wait_s: float = WAIT_S) -> Path:
    """Remove one version; the folder that is gone.

    Raises:
        BundleError: it is not there, or a model uses it.
        StateError: the disk refuses.
    """
    path = root / name / str(version)
    _check(root, path, in_use)  # first: nothing is made where there is no store
    with open_to_change(root, wait_s):
        _check(root, path, in_use)
        take_out(root, path)
    return path


def _check(root: Path, path: Path, in_use: InUse) -> None:
    if path not in [found for _, found in find_held(root)]:
        have = ", ".join(held.id for held, _ in find_held(root)[:20]) or "none"
        raise BundleError(
            path, f"not installed; there are: {have}", "an installed version", "Correct the name."
        )
    if roles := in_use.of(path):
        is_tried = any(role.startswith("candidate ") for role in roles)
        abort, other = (
            "End its trial first: edge-runtime rollout abort CONFIG",
            "Let the model use another version first.",
        )
        fix = abort if is_tried else other
        raise BundleError(path, f"it is {', '.join(roles)}", "a version that no model uses", fix)


def collect(root: Path, keep: Keep, in_use: InUse, *, wait_s: float = WAIT_S) -> Collected:
    """Remove what the rules do not keep, and what dead processes have left.

    Raises:
        StateError: the disk refuses.
    """
    if not root.exists():
        return Collected((), 0, 0, 0)
    with open_to_change(root, wait_s):
        choice = choose(root, keep, in_use)
        take_out_all(root, choice)
    freed = sum(one.size_bytes for one in choice.removed)
    return Collected(tuple(one.id for one in choice.removed), freed, choice.kept_bytes, choice.over_bytes)


def choose(root: Path, keep: Keep, in_use: InUse) -> Choice:
    """What would be removed now.

    Raises:
        StateError: the root cannot be read.
    """
    held = find_held(root)
    return choose_removals([one for one, _ in held], keep, {one.id for one, path in held if in_use.of(path)})


def take_out_all(root: Path, choice: Choice) -> None:
    """Remove what was chosen, for the holder of the lock.

    Raises:
        StateError: the disk refuses.
    """
    for one in choice.removed:
        take_out(root, root / one.name / str(one.version))


def take_out(root: Path, path: Path) -> None:
    """Remove one version, for the holder of the lock; the folder of its name goes with the last one.

    Raises:
        StateError: the disk refuses.
    """
    with make_work_folder(root) as work, as_state_error(path):
        move(path, work / path.name)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
