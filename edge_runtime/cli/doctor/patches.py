"""What was made on this box for a model: does the active patch belong to the bundle, are the baselines in force?"""

import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from calibration.baseline.baseline import Baseline
from calibration.errors import CalibrationError
from calibration.stats.regular_file import read_whole
from edge_runtime.bundles.manifest import Manifest
from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.deployment.model_state import LARGEST_NOTE_BYTES, ModelState, model_folder
from edge_runtime.errors import ExitCode, StateError
from edge_runtime.recalibration.baselines.store import BaselineStore


def examine_patch(state_dir: Path, model: str, bundle: str) -> Iterator[Finding]:
    """Look at the active patch of a model whose bundle, ``name/version``, is this one."""
    kept = ModelState(model_folder(state_dir, model))
    try:
        stored = orjson.loads(read_whole(kept.active_path, LARGEST_NOTE_BYTES))
        owner, patch = str(stored["bundle"]), stored["patch"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as err:
        advice = "the bundle answers without a patch; recalibrate"
        yield problem(
            "patch.broken", f"{model}: {kept.active_path} cannot be read: {err}", advice, ExitCode.IO
        )
        return
    if patch is None:
        return
    if owner != bundle:
        found = f"{model}: patch {patch} was made for {owner}, and {bundle} is configured: it is not used"
        yield note(
            "patch.stale", found, "commission and recalibrate with this bundle, or go back to that one"
        )
        return
    try:
        kept.read_patched(patch)
    except StateError as err:
        advice = f"edge-runtime send rollback --model {model}, or recalibrate"
        yield problem("patch.broken", f"{model}: {err.reason_text}", advice, err.exit_code)
    else:
        yield fine("patch", f"{model}: patch {patch} of {bundle} is whole")


def examine_baselines(state_dir: Path, model: str, manifest: Manifest | None) -> Iterator[Finding]:
    """Look at the baselines of a model; None: its bundle cannot be read, and is another topic's finding."""
    store = BaselineStore(ModelState(model_folder(state_dir, model)).baselines)
    for name in store.list_names():
        try:
            baseline = store.read(name)
        except CalibrationError as err:
            advice = "edge-runtime baseline remove, and commission again"
            yield problem("baseline.broken", f"{model}: {err}", advice, ExitCode.DATA)
            continue
        if manifest is not None and _is_of_another_model(baseline, manifest):
            owner = baseline.facts.bundle or "another model"
            found = f"{model}: baseline {name} was recorded with {owner}, not with the model of {manifest.id}"
            yield note("baseline.stale", found, "while all is healthy: edge-runtime send commission")
        elif baseline.facts.is_expired(time.time()):
            found = f"{model}: the approval of baseline {name} has ended: no patch is made from it"
            yield note("baseline.expired", found, "edge-runtime baseline approve, or commission again")
        else:
            yield fine("baseline", f"{model}: {name} is in force")


def _is_of_another_model(baseline: Baseline, manifest: Manifest) -> bool:
    """By the hash of the model's file; an OpenVINO model is two files, and is told by the bundle's name."""
    if manifest.weights is not None:
        return baseline.facts.bundle not in (None, manifest.id)
    return baseline.model_sha256 != manifest.files[manifest.model]
