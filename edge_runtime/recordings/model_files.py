"""What a recording takes from the state directory: the patches that answered, and baselines without pictures."""

from dataclasses import replace
from pathlib import Path

import structlog

from calibration.baseline.baseline import Baseline
from calibration.errors import CalibrationError
from calibration.stats.regular_file import read_whole
from calibration.stats.tensor_file import LARGEST_FILE_BYTES
from edge_runtime.deployment.model_state import PATCH_ID, ModelState, model_folder
from edge_runtime.errors import StateError
from edge_runtime.recordings.manifest import BASELINES, PATCHES, Manifest
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()


def keep_patch(state_dir: Path, folder: Path, model: str, generation: str) -> None:
    """Copy the patch of a generation into a recording; a recording without it is as good for the bundle alone."""
    patch = generation.partition("+")[2]
    if not PATCH_ID.fullmatch(patch):
        return
    path = ModelState(model_folder(state_dir, model)).patch_path(patch)
    try:
        data = read_whole(path, LARGEST_FILE_BYTES)
        write_atomically(folder / PATCHES / model / f"{patch}.safetensors", data)
    except (OSError, StateError) as err:
        log.warning("patch not recorded", path=str(path), reason=str(err))


def keep_baselines(state_dir: Path, folder: Path, manifest: Manifest) -> None:
    """Copy the baselines in use, without the pictures in them, so that drift can be scored elsewhere."""
    for model, note in manifest.models.items():
        if note.baseline is None:
            continue
        path = ModelState(model_folder(state_dir, model)).baselines / f"{note.baseline}.safetensors"
        try:
            found = Baseline.load(path)
            kept = folder / BASELINES / f"{model}.safetensors"
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            replace(found, healthy_samples=None).save(kept)
            kept.chmod(0o600)
        except (CalibrationError, OSError) as err:
            log.warning("baseline not recorded", path=str(path), reason=str(err))
