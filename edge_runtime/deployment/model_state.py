"""The files of one model besides its bundle: baselines, patches, and the note of the active generation.

```
<state_dir>/models/<model>/
    last-version                  number of the bundle version that ran last
    versions.json                 which versions are active, previous and candidate (see version_pointers)
    active.json                   {"bundle": "name/1", "patch": "p3" | null, "previous": "p2" | null}
    rollouts.json                 what became of newer versions (see rollout_history)
    schedule.json                 {"came_wall_s": [...]}: when the schedule came last
    proposal.json                 the patch that waits for a person (see recalibration.proposals)
    baselines/                    moments of the healthy site, one file a state (see recalibration.baselines.store)
    probes/<first 16 digits of the model's SHA-256>.onnx    its first taps, for the drift monitor
    patches/p3/{patch.safetensors, model.onnx, answers.safetensors, report.json, report.html,
                observed.safetensors, patch.sig, withdrawn}
    reports/r7/{report.json, report.html}    of refused recalibrations (see reports)
    dry-runs/d4/{report.json, report.html}
    trials/t2/{report.json, report.html}     of newer versions, and of patches in the shadow
    reservoir/                    see reservoir_store
    audit/a17.{jpg, json}         confident answers (see audit)
    jobs/                         work space of the recalibration process; wiped at start
```
A patch folder appears by one rename, so it is whole or absent. ``model.onnx`` is a derived copy (bundle + patch) whose
hash is in ``report.json``: the serving process never needs an editor for its format. ``answers`` are its answers to the
golden pictures; every engine that is opened with it must give the same. ``observed`` is the drift that the patch
was accepted for, to recognise it; a patch with a file ``withdrawn`` does not come back by
itself. Models of other formats are ``.xml`` with ``.bin``, or ``.pt``.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import safetensors.numpy
import structlog
from numpy.typing import NDArray
from safetensors import SafetensorError

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import DEFAULT_NAME
from calibration.errors import CalibrationError
from calibration.patch import Patch
from calibration.stats.atomic_file import sync_directory
from calibration.stats.regular_file import read_whole
from calibration.stats.tensor_file import LARGEST_FILE_BYTES
from calibration.targets import model_files
from calibration.targets.base import ModelFiles
from edge_runtime.bundles.signing.patches import PatchSigner
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.deployment.version_pointers import VERSIONS_FILE
from edge_runtime.errors import StateError
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.own_folder import make_folder, remove

log = structlog.get_logger()

LARGEST_NOTE_BYTES = 2**20
ANSWERS_FILE = "answers.safetensors"
PATCH_ID = re.compile(r"p[1-9][0-9]{0,8}")


def model_folder(state_dir: Path, model: str) -> Path:
    """The folder of one model below the state directory, there or not."""
    return state_dir / "models" / model


@dataclass(frozen=True, slots=True)
class Patched:
    """A patched model and its answers."""

    model: ModelFiles
    answers: Mapping[str, NDArray[Any]] | None
    """To the golden inputs, see ``self_test.answer_golden_inputs``; None for a patch of an earlier version."""
    patch_file: Path
    """The corrections that are in the model."""

    def read_patch(self) -> Patch:
        """The corrections.

        Raises:
            StateError: missing or damaged.
        """
        try:
            return Patch.load(self.patch_file)
        except CalibrationError as err:
            raise StateError(f"{err}; the patch is not used") from err


@dataclass(frozen=True, slots=True)
class ModelState:
    """The files of one model below the state directory."""

    folder: Path
    signer: PatchSigner | None = None
    """Signs the patches and checks them; None where no key is trusted."""

    @classmethod
    def open(cls, state_dir: Path, model: str, signer: PatchSigner | None = None) -> "ModelState":
        """The model's folder, made if needed. Nothing of a daemon that uses it already is touched.

        Raises:
            StateError: the state directory cannot be written.
        """
        model_state = cls(model_folder(state_dir, model), signer)
        try:
            for folder in (model_state.folder.parent, model_state.folder):
                make_folder(folder, may_be_link=True)
            make_folder(model_state.jobs)
            make_folder(model_state.patches, may_be_link=True)
        except OSError as err:
            raise StateError(
                f"cannot use the state directory {state_dir}: {err.strerror}; "
                "create it for the daemon's user or set state_dir in the configuration"
            ) from err
        return model_state

    def clear_jobs(self) -> None:
        """Remove leftovers of earlier jobs; only while no job runs."""
        for leftover in self.jobs.glob("*"):
            remove(leftover, below=self.folder)

    @property
    def baselines(self) -> Path:
        """Moments of the healthy site, one file a state."""
        return self.folder / "baselines"

    def probe_path(self, model_sha256: str) -> Path:
        """The first taps of this model, for the drift monitor; may be missing."""
        return model_files.find_named(self.folder / "probes", model_sha256[:16])

    def put_probe(self, model_sha256: str, files: ModelFiles) -> None:
        """Keep the probe of a model.

        Raises:
            OSError: the disk refuses.
        """
        folder = self.folder / "probes"
        make_folder(folder, may_be_link=True)
        model_files.write(folder / f"{model_sha256[:16]}{model_files.suffix(files)}", files)

    def adopt_single_baseline(self) -> None:
        """Take over the single baseline of version 0.1.0, which has no name, as the one named ``default``.

        The probe goes first: cut off in between, the rest is done at the next start. A file that cannot be read stays.
        """
        old, adopted = self.folder / "baseline.safetensors", self.baselines / f"{DEFAULT_NAME}.safetensors"
        if not old.is_file() or adopted.exists():
            return
        try:
            probe = self.probe_path(Baseline.load(old).model_sha256)
            for path in (probe, adopted):
                make_folder(path.parent, may_be_link=True)
            if (self.folder / "probe.onnx").is_file():
                (self.folder / "probe.onnx").replace(probe)
            old.replace(adopted)
        except (CalibrationError, OSError) as err:
            log.error("baseline of an earlier version not taken over", path=str(old), reason=str(err))

    @property
    def patches(self) -> Path:
        """One folder a patch."""
        return self.folder / "patches"

    @property
    def jobs(self) -> Path:
        """Work space of recalibration processes."""
        return self.folder / "jobs"

    def job_folder(self, kind: str) -> Path:
        """Of the job of this kind that runs or has just ended."""
        return self.jobs / kind

    @property
    def reservoir(self) -> Path:
        """Pictures (or only their moments) that the reservoir keeps over a restart."""
        return self.folder / "reservoir"

    @property
    def active_path(self) -> Path:
        """The note of the active generation."""
        return self.folder / "active.json"

    @property
    def versions_path(self) -> Path:
        """The pointers to versions, for ``VersionPointers.load`` and ``save``; may be missing."""
        return self.folder / VERSIONS_FILE

    def load_rollout(self, bundle: str) -> Rollout:
        """The state of the last run with this bundle; the base when there was none, or one with another bundle.

        Raises:
            StateError: the note, or the patch that it names, is damaged.
        """
        base = Rollout(active=Generation(bundle))
        try:
            stored = orjson.loads(read_whole(self.active_path, LARGEST_NOTE_BYTES))
            patch, previous = stored["patch"], stored["previous"]
            if stored["bundle"] != bundle:
                return base
        except FileNotFoundError:
            return base
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise StateError(f"the note of the active generation is damaged ({err})") from err
        if not self._is_whole(patch):
            raise StateError(f"the active patch {str(patch)[:64]!r} is not there as a whole")
        return Rollout(
            active=Generation(bundle, patch),
            previous=Generation(bundle, previous) if self._is_whole(previous) else None,
        )

    def record(self, rollout: Rollout) -> None:
        """Remember the active generation.

        Raises:
            StateError: it could not be written; the old record stands.
        """
        previous = rollout.previous.patch if rollout.previous else None
        data = {"bundle": rollout.active.bundle, "patch": rollout.active.patch, "previous": previous}
        write_atomically(self.active_path, orjson.dumps(data))

    def load_slots(self) -> list[float]:
        """The times at which the schedule came, Unix seconds, oldest first; none when that cannot be read."""
        path = self.folder / "schedule.json"
        try:
            came = [float(slot) for slot in orjson.loads(read_whole(path, LARGEST_NOTE_BYTES))["came_wall_s"]]
            return [slot for slot in came if math.isfinite(slot)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as err:
            log.warning("note of the schedule damaged: it is begun anew", path=str(path), reason=str(err))
            return []

    def record_slots(self, slots: Sequence[float]) -> None:
        """Remember the times at which the schedule came.

        Raises:
            StateError: it could not be written; the old record stands.
        """
        write_atomically(self.folder / "schedule.json", orjson.dumps({"came_wall_s": slots}))

    def read_last_version(self) -> int | None:
        """The bundle version that ran last; None when that is not known."""
        try:
            return int(read_whole(self.folder / "last-version", 16))
        except (OSError, ValueError):
            return None

    def note_last_version(self, version: int) -> None:
        """Remember the version that runs, in case the newest is damaged at the next start."""
        if version == self.read_last_version():
            return
        try:
            write_atomically(self.folder / "last-version", str(version).encode())
        except StateError as err:
            log.warning("version not noted", version=version, reason=str(err))

    def make_patch_id(self) -> str:
        """An id no patch of this model has had while its folder is kept."""
        return f"p{max((int(known[1:]) for known in self.list_patch_ids()), default=0) + 1}"

    def adopt(self, finished: Path, patch_id: str) -> None:
        """Sign a finished job folder and move it into the patches, whole or not at all.

        Raises:
            StateError: the disk refuses.
        """
        if self.signer is not None:
            self.signer.sign(finished)
        try:
            finished.rename(self.patches / patch_id)
            sync_directory(self.patches)
        except OSError as err:
            raise StateError(f"cannot store patch {patch_id} in {self.patches}: {err.strerror}") from err

    def read_patched(self, patch_id: str) -> Patched:
        """The patched model, checked against the signature and the hash in its report, and its answers.

        Raises:
            StateError: missing or damaged, or nobody trusted has signed it.
        """
        folder = self.patches / patch_id
        if self.signer is not None:
            self.signer.check(folder)
        try:
            files = model_files.read_named(folder, "model")
            expected = orjson.loads(read_whole(folder / "report.json", LARGEST_NOTE_BYTES))["model_sha256"]
            has_answers = (folder / ANSWERS_FILE).exists()
            answers = _load_answers(folder / ANSWERS_FILE) if has_answers else None
        except (CalibrationError, SafetensorError, OSError, ValueError, KeyError, TypeError) as err:
            raise StateError(f"patch {patch_id} in {folder} cannot be read: {err}") from err
        if files.sha256 != expected:
            found = f"the model in {folder} does not have the hash in its report"
            raise StateError(f"{found}; the patch is not used")
        return Patched(files, answers, self.patch_path(patch_id))

    def list_patch_ids(self) -> list[str]:
        """All patches there, oldest first."""
        found = (path.name for path in self.patches.iterdir() if PATCH_ID.fullmatch(path.name))
        return sorted(found, key=lambda name: int(name[1:]))

    def read_cause(self, patch_id: str) -> str | None:
        """Why a patch was made, as its report says; None when that cannot be read."""
        return self._read_reported(patch_id, "cause")

    def read_baseline_id(self, patch_id: str) -> str | None:
        """Id of the baseline a patch was made from, as its report says; None when that cannot be read."""
        return self._read_reported(patch_id, "baseline_id")

    def patch_path(self, patch_id: str) -> Path:
        """The corrections of a patch; may be missing."""
        return self.patches / patch_id / "patch.safetensors"

    def observed_path(self, patch_id: str) -> Path:
        """The drift that the patch was accepted for, as a baseline file of the first taps; may be missing."""
        return self.patches / patch_id / "observed.safetensors"

    def withdraw(self, patch_id: str, reason: str) -> None:
        """Note that an operator took this patch back or that it did not run: it is not used again by itself.

        Raises:
            StateError: it could not be written.
        """
        write_atomically(self.patches / patch_id / "withdrawn", reason.encode())

    def read_withdrawal(self, patch_id: str) -> str | None:
        """Why it was taken back: ``command``, or what failed when it ran; None when it was not."""
        try:
            noted = read_whole(self.patches / patch_id / "withdrawn", LARGEST_NOTE_BYTES)
            return noted.decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as err:
            return f"the note of it cannot be read: {err.strerror}"

    def is_withdrawn(self, patch_id: str) -> bool:
        """Whether it was taken back by a command or because it did not run."""
        return self.read_withdrawal(patch_id) is not None

    def _read_reported(self, patch_id: str, key: str) -> str | None:
        try:
            report = orjson.loads(read_whole(self.patches / patch_id / "report.json", LARGEST_NOTE_BYTES))
        except (OSError, ValueError):
            return None
        value = report.get(key) if isinstance(report, dict) else None
        return value if isinstance(value, str) and value else None

    def prune(self, keep: int, spare: set[str]) -> None:
        """Remove all but the newest ``keep`` patches and those in ``spare`` (active, previous)."""
        known = self.list_patch_ids()
        for patch_id in set(known[:-keep]) - spare:
            remove(self.patches / patch_id, below=self.folder)

    def _is_whole(self, patch_id: object) -> bool:
        if patch_id is None:
            return True
        is_id = isinstance(patch_id, str) and PATCH_ID.fullmatch(patch_id) is not None
        return is_id and (self.patches / str(patch_id) / "report.json").is_file()


def _load_answers(path: Path) -> dict[str, NDArray[Any]]:
    return safetensors.numpy.load(read_whole(path, LARGEST_FILE_BYTES))
