"""The baselines of one model on disk: one file a state of the site, and which of them is in use.

```
baselines/day.safetensors  night.safetensors …     named like the state; see calibration.baseline.baseline
baselines/day.scores.json                          of its frames, where the model scores anomalies
baselines/in-use.json                              {"name": "day", "parked": {"<baseline id>": "p3"}}
```
The file's name is the state's name, so that a pooled baseline is put to use by copying it here. A file that is damaged
or belongs to another model is left alone and named.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson
import structlog

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import BaselineFacts, require_name
from calibration.errors import CalibrationError
from calibration.stats import atomic_file
from calibration.stats.regular_file import read_whole
from edge_runtime.deployment.model_state import LARGEST_NOTE_BYTES
from edge_runtime.errors import StateError
from edge_runtime.recalibration.context import Identity
from edge_runtime.recalibration.healthy_scores import read_scores, write_scores
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.own_folder import make_folder

log = structlog.get_logger()

MOST = 8
"""Baselines of one model: each is scored for every sampled frame, and kept in memory."""
SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class InUse:
    """Which baseline drift is measured against."""

    name: str | None = None
    suspended: Mapping[str, str] = field(default_factory=dict)
    """By baseline id, the patch that was active when that baseline went out of use."""


class Stored(NamedTuple):
    """What a folder of baselines holds, by name."""

    usable: dict[str, Baseline]
    """The newest ``MOST``."""
    misfits: dict[str, str]
    """Why others cannot be used with this bundle."""
    damaged: dict[str, str]
    """Why others cannot be read."""


@dataclass(frozen=True, slots=True)
class BaselineStore:
    """The folder ``baselines`` of one model."""

    folder: Path

    def path(self, name: str) -> Path:
        """The file of a baseline, there or not."""
        return self.folder / f"{name}{SUFFIX}"

    def list_names(self) -> list[str]:
        """All that are there, sorted."""
        return sorted(path.stem for path in self.folder.glob(f"[!.]*{SUFFIX}"))

    def compute_signature(self) -> tuple[tuple[str, int, int], ...]:
        """Changes whenever a file does."""
        found = []
        for name in self.list_names():
            with contextlib.suppress(OSError):  # removed a moment ago
                stat = self.path(name).stat()
                found.append((name, stat.st_mtime_ns, stat.st_size))
        return tuple(found)

    def load(self, identity: Identity) -> "Stored":
        """All baselines by name, the usable ones without their pictures."""
        usable, misfits, damaged = dict[str, Baseline](), dict[str, str](), dict[str, str]()
        for name in self.list_names():
            try:
                baseline = self.read(name)
            except CalibrationError as err:  # damaged, or a name that cannot be one
                damaged[name] = str(err)
                continue
            misfit = identity.find_misfit(baseline)
            if misfit is not None:
                misfits[name] = f"{misfit}; commission the site again with this bundle"
            else:
                usable[name] = baseline.without_samples()
        ordered = sorted(usable, key=lambda name: -usable[name].created_wall_s)
        misfits |= dict.fromkeys(ordered[MOST:], f"more than {MOST} baselines; remove some")
        return Stored({name: usable[name] for name in sorted(ordered[:MOST])}, misfits, damaged)

    def read(self, name: str) -> Baseline:
        """One baseline, whole.

        Raises:
            DataError: missing, damaged, no baseline, or a name that cannot be one.
        """
        require_name(name)
        return Baseline.load(self.path(name)).rename(name)

    def put(self, baseline: Baseline) -> None:
        """Store a baseline under its name, in place of an earlier one.

        Raises:
            StateError: the disk refuses; the earlier one stays.
        """
        path = self.path(baseline.name)
        try:
            make_folder(self.folder, may_be_link=True)
            atomic_file.write_atomically(path, baseline.to_bytes())
        except OSError as err:
            raise StateError(f"cannot store the baseline {path}: {err.strerror}; check its space") from err

    def note_facts(self, name: str, facts: BaselineFacts) -> Baseline:
        """Store other facts about a baseline; its figures and its samples stay.

        Raises:
            DataError: it cannot be read.
            StateError: the disk refuses.
        """
        changed = self.read(name).with_facts(facts)
        self.put(changed)
        return changed.without_samples()

    def put_scores(self, baseline: Baseline, scores: list[float]) -> None:
        """Store the anomaly scores of a baseline's frames.

        Raises:
            StateError: the disk refuses.
        """
        write_scores(self._scores_path(baseline.name), baseline.id, scores)

    def read_scores(self, baseline: Baseline) -> list[float]:
        """The anomaly scores of its frames; none where the model gives none, or it came from elsewhere."""
        return read_scores(self._scores_path(baseline.name), baseline.id)

    def _scores_path(self, name: str) -> Path:
        return self.folder / f"{name}.scores.json"

    def remove(self, name: str) -> None:
        """Remove a baseline with its scores; removing one that is not there does nothing.

        Raises:
            StateError: the disk refuses.
        """
        try:
            self.path(name).unlink(missing_ok=True)
            self._scores_path(name).unlink(missing_ok=True)
        except OSError as err:
            raise StateError(f"cannot remove {self.path(name)}: {err.strerror}") from err

    def read_in_use(self) -> InUse:
        """The note of the last run; an empty one when it is missing or damaged."""
        try:
            stored = orjson.loads(read_whole(self.folder / "in-use.json", LARGEST_NOTE_BYTES))
            return InUse(
                str(stored["name"]), {str(key): str(value) for key, value in stored["parked"].items()}
            )
        except FileNotFoundError:
            return InUse()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            path = str(self.folder / "in-use.json")
            log.error(
                "note of the baseline in use damaged: the nearest one is used", path=path, reason=str(err)
            )
            return InUse()

    def note_in_use(self, in_use: InUse) -> None:
        """Remember it.

        Raises:
            StateError: it could not be written; the old note stands.
        """
        data = orjson.dumps({"name": in_use.name, "parked": dict(in_use.suspended)})
        write_atomically(self.folder / "in-use.json", data)
