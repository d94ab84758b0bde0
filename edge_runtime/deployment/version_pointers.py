"""Which versions of a bundle are active, previous and candidate for one model, in a file that survives a power cut.

```
<state_dir>/models/<model>/versions.json
    {"bundle": "parts", "active": 4, "previous": 3, "earlier": [1], "candidate": 5 | null, "refused": {"2": "reason"},
     "starts": {"5": 1}, "boot": "3f0c...", "others": {"screws": {"bundle": "screws", "active": 1, ...}}}
```
Only the value and its file live here; who moves a pointer, and when, is decided elsewhere.
"""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self

import orjson
from pydantic import Field, ValidationError

from calibration.stats.regular_file import read_whole
from edge_runtime.bundles.foreign_json import describe_first
from edge_runtime.errors import StateError
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.lazy_adapter import LazyAdapter

VERSIONS_FILE = "versions.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LARGEST_BYTES = 2**20
MOST_EARLIER, MOST_OTHERS = 8, 8
WRITING = threading.RLock()
"""Held while the file is read to be written again: a rollout and the opening of an edit meet there."""
Version = Annotated[int, Field(ge=1, le=999_999_999)]


@dataclass(frozen=True, slots=True)
class VersionPointers:
    """The pointers of one model. Versions are numbers of its bundle, from 1; None: there is no such version (yet)."""

    active: Version | None = None
    """The one that answers."""
    previous: Version | None = None
    """The one to go back to."""
    earlier: tuple[Version, ...] = ()
    """Others that were active, the latest first, ``MOST_EARLIER`` at most: what a start falls back on."""
    candidate: Version | None = None
    """The one on its way to become active."""
    refused: Mapping[Version, str] = field(default_factory=dict)
    """Why a version is not tried again by itself."""
    starts: Mapping[Version, Annotated[int, Field(ge=0)]] = field(default_factory=dict)
    """How many starts with a version were begun and not finished; a finished one is taken off by its caller."""
    boot: str | None = field(default=None, compare=False)
    """The boot of the box that the starts were counted in, as the kernel names it; None: not known."""

    bundle: str | None = field(default=None, compare=False)
    """Name of the bundle whose versions these are; None: written by an earlier release, of whichever bundle is used."""
    others: Mapping[str, "VersionPointers"] = field(default_factory=dict)
    """By name, those of bundles that the model used before, the latest last, ``MOST_OTHERS`` at most."""

    def __post_init__(self) -> None:
        if self.active is not None and self.active in (self.previous, self.candidate):
            raise ValueError(f"version {self.active} is active, and previous or candidate at the same time")

    @property
    def in_use(self) -> frozenset[int]:
        """The versions that a pointer names: none of them may be removed."""
        return frozenset({self.active, self.previous, self.candidate} - {None})  # type: ignore[arg-type]

    def of(self, bundle: str) -> "VersionPointers":
        """Those of this bundle: the number of another one's version says nothing about its own."""
        if self.bundle in (None, bundle):
            return replace(self, bundle=bundle)
        kept = {name: one for name, one in self.others.items() if name != self.bundle}
        kept[self.bundle] = replace(self, others={}, starts={})
        found = kept.pop(bundle, VersionPointers())
        latest = dict(list(kept.items())[-MOST_OTHERS:])
        return replace(found, bundle=bundle, boot=self.boot, others=latest)

    def activate(self, version: int, previous: int | None) -> Self:
        """With another one active; those that were so before are remembered."""
        before = (self.active, self.previous, *self.earlier)
        known = dict.fromkeys(one for one in before if one is not None and one not in (version, previous))
        kept = previous if previous != version else None
        return replace(self, active=version, previous=kept, earlier=tuple(known)[:MOST_EARLIER])

    @classmethod
    def load(cls, path: Path) -> "VersionPointers":
        """Read them; no file, as before the first start: none is set. Keys of later releases are left out.

        Raises:
            StateError: it cannot be read or is damaged.
        """
        try:
            data = read_whole(path, LARGEST_BYTES)
            return _POINTERS.adapter.validate_json(data)
        except FileNotFoundError:
            return cls()
        except (OSError, ValidationError) as err:
            raise StateError(
                f"{path} cannot be read ({_describe(err)}); expected the versions that are active, previous and "
                "candidate. Remove the file: the daemon then chooses a version as at its first start"
            ) from err

    def forget_other_boots(self, boot: str | None) -> Self:
        """Without the starts of another boot: a power cut is no crash of a version."""
        return self if boot is None or self.boot == boot else replace(self, starts={}, boot=boot)

    def save(self, path: Path) -> None:
        """Write them, whole or not at all.

        Raises:
            StateError: the disk refuses; what was written before is still there.
        """
        with WRITING:
            write_atomically(path, orjson.dumps(asdict(self), option=orjson.OPT_NON_STR_KEYS))


_POINTERS: LazyAdapter[VersionPointers] = LazyAdapter(VersionPointers)


def read_boot_id(path: Path = BOOT_ID) -> str | None:
    """The name of this boot of the box; None where the kernel does not tell."""
    try:
        return path.read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None


def _describe(err: OSError | ValidationError) -> str:
    return str(err.strerror) if isinstance(err, OSError) else describe_first(err)
