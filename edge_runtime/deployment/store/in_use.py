"""Which versions the models of a configuration use: none of them is ever removed."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from calibration.stats.regular_file import read_whole
from edge_runtime.bundles.manifest import MANIFEST_FILE
from edge_runtime.config import Config
from edge_runtime.deployment.model_state import LARGEST_NOTE_BYTES, ModelState, model_folder
from edge_runtime.deployment.start_record import read_starts
from edge_runtime.deployment.version_pointers import VersionPointers
from edge_runtime.deployment.versions import list_candidates
from edge_runtime.errors import BundleError, StateError


@dataclass(frozen=True, slots=True)
class InUse:
    """Versions and what they are to which models."""

    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Real path of a version's folder -> words such as ``active of parts``."""
    otherwise: tuple[str, ...] = ()
    """What every other version is used as."""

    def of(self, version: Path) -> tuple[str, ...]:
        """What a version is used as; empty: not used."""
        return self.roles.get(os.path.realpath(version), self.otherwise)


def find_in_use(config: Config) -> InUse:
    """From the pointers of each model, and the notes of daemons that have none; in safe mode any may be.

    Raises:
        StateError: the pointers of a model are damaged, so that it cannot be known.
    """
    if config.is_safe_mode:
        return InUse(otherwise=("in use by models that are not known in safe mode",))
    roles: dict[str, list[str]] = {}
    for name, model in config.models.items():
        root = config.bundle_root(name)
        if (root / MANIFEST_FILE).is_file():  # the configuration names one version
            roles.setdefault(os.path.realpath(root), []).append(f"active of {name}")
            continue
        state = ModelState(model_folder(config.state_dir, name))
        for role, version in _list_roles(state, root.name, model.version):
            words = roles.setdefault(os.path.realpath(root / str(version)), [])
            if not any(known.endswith(f" of {name}") for known in words):
                words.append(f"{role} of {name}")
    return InUse({path: tuple(words) for path, words in roles.items()})


def find_first_starts(config: Config, in_use: InUse) -> dict[str, tuple[str, ...]]:
    """The versions with which models that have not run yet would start: real path -> names of those models.

    They are not in use: each of them may be removed.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, model in config.models.items():
        if any(word.endswith(f" of {name}") for words in in_use.roles.values() for word in words):
            continue
        order = read_starts(config, name, may_write=False).order
        with suppress(BundleError):  # none is installed
            path = os.path.realpath(list_candidates(config.bundle_root(name), model.version, order)[0])
            found[path] = (*found.get(path, ()), name)
    return found


def _list_roles(state: ModelState, bundle: str, configured: str | int) -> list[tuple[str, int]]:
    """Role and version, the strongest role first; a version may come several times."""
    pointers, last_run = VersionPointers.load(state.versions_path).of(bundle), state.read_last_version()
    noted = _read_noted(state)
    found = [
        ("active", pointers.active or last_run or noted),
        ("candidate", pointers.candidate),
        ("previous", pointers.previous),
        ("configured", configured if isinstance(configured, int) else None),
        ("last run", last_run),
        ("last run", noted),
    ]
    return [(role, version) for role, version in found if version is not None]


def _read_noted(state: ModelState) -> int | None:
    """The version in the note of the active generation; None when there is none.

    Raises:
        StateError: the note cannot be read.
    """
    try:
        bundle = orjson.loads(read_whole(state.active_path, LARGEST_NOTE_BYTES))["bundle"]
        return int(bundle.rpartition("/")[2])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise StateError(
            f"{state.active_path} cannot be read, so the version in use is not known: {err}; start the daemon, which "
            "writes it anew, or remove the file"
        ) from err
