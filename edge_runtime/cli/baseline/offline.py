"""The baselines of a state directory without its daemon: list, approve, expire, remove, and add one made elsewhere.

A change takes the directory's lock, so that it never meets a running daemon. Adding a file needs no lock: a running
daemon finds it when it lists its baselines.
"""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import calibration
from calibration.baseline.baseline import Baseline
from calibration.errors import BaselineError
from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config
from edge_runtime.daemon.running import choose_model_name
from edge_runtime.daemon.wiring.recalibration import identify_bundle
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.open_bundle import load_model_bundle
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.baselines.commands import BaselineCommands
from edge_runtime.recalibration.baselines.store import BaselineStore
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.task import TaskRequest
from edge_runtime.system.state_lock import lock_state_dir


def carry_out_offline(
    config: Config, model: str | None, request: TaskRequest, now_wall_s: float
) -> dict[str, Any]:
    """Carry out a task as the daemon would.

    Raises:
        CommandError: no such model or baseline.
        BundleError: the model's bundle cannot be used.
        StateError: the state directory cannot be used, or a daemon runs with it.
    """
    name, bundle = _bundle_of(config, model)
    with nullcontext() if request.verb == "baselines" else lock_state_dir(config.state_dir):
        context = ModelContext(
            name,
            bundle.path,
            identify_bundle(bundle),
            ModelState.open(config.state_dir, name),
            lambda _: None,
            time.monotonic,
            lambda: now_wall_s,
        )
        baselines = ActiveBaselines(context, DriftWatch(None), config.drift)
        return BaselineCommands(context, baselines).obey(request)


def add_baseline(config: Config, model: str | None, file: Path, called: str | None) -> dict[str, Any]:
    """Put a baseline that was made elsewhere into the store of a model (None: the only one); it may get another name.

    Raises:
        CalibrationError: damaged, or of another model or preprocessing.
        CommandError, BundleError, StateError: as above.
    """
    name, bundle = _bundle_of(config, model)
    identity, baseline = identify_bundle(bundle), Baseline.load(file)
    misfit = identity.find_misfit(baseline)
    if misfit is not None:
        fix = f"Record it with the bundle {bundle.id}."
        raise BaselineError(str(file), misfit, "one of this box's model", fix)
    model_state = ModelState.open(config.state_dir, name)
    target = called or baseline.name
    model_state.put_probe(identity.model_sha256, calibration.probe_files(bundle.model_files))
    BaselineStore(model_state.baselines).put(baseline.rename(target))
    return {"model": name, "added": target, "id": baseline.id, "frames": baseline.count}


def _bundle_of(config: Config, model: str | None) -> tuple[str, Bundle]:
    name = choose_model_name(config.models, model)
    return name, load_model_bundle(config, name)
