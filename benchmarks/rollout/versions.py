"""Further versions of a bundle, sound or broken, as their publisher would put them on a box."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.numpy
import yaml

from benchmarks.rollout.faults import HALF, SOME, Fault, Trigger, trigger_for
from calibration.targets.base import ModelFiles
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.manifest import MANIFEST_FILE
from edge_runtime.bundles.self_test import prepare_golden, run_one
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.inference.engines.threads import ThreadPlan

_SHARES = {Fault.SOMETIMES: SOME, Fault.DISAGREES: HALF}
_OF_THE_MODEL = (Fault.SLOW, Fault.NAN, Fault.CRASH, Fault.SOMETIMES, Fault.LEAK, Fault.DISAGREES)


def make_root(folder: Path, bundle: Path) -> Path:
    """A folder below ``folder`` for versions of ``bundle``, called as it: another name is refused."""
    root = folder / "bundles" / bundle.parent.name
    root.mkdir(parents=True)
    return root


def put_version(source: Path, root: Path, version: int, fault: Fault) -> Path:
    """A version of the bundle at ``source`` in the folder ``root``, there at once; hashes are right, golden passes."""
    folder, draft = root / str(version), root / f".{version}"
    shutil.copytree(source, draft)
    manifest = yaml.safe_load((draft / MANIFEST_FILE).read_text())
    manifest["version"] = version
    if fault in _OF_THE_MODEL:
        _break_model(source, draft, manifest, fault)
    elif fault is Fault.LABELS:
        _shift_labels(draft / manifest["labels"])
    _write(draft, manifest)
    if fault is Fault.PREPROCESSING:
        _prepare_wrongly(draft, manifest)
    draft.rename(folder)
    return folder


def _break_model(source: Path, draft: Path, manifest: dict[str, Any], fault: Fault) -> None:
    bundle = load_bundle(source)
    files = _surgery(manifest["format"])(
        bundle.model_files, fault, trigger_for(bundle, _SHARES.get(fault, 1.0))
    )
    (draft / manifest["model"]).write_bytes(files.data)
    if files.weights is not None:
        (draft / manifest["weights"]).write_bytes(files.weights)


def _surgery(model_format: str) -> Callable[[ModelFiles, Fault, Trigger], ModelFiles]:
    if model_format == "onnx":
        from benchmarks.rollout.onnx_surgery import break_onnx

        return break_onnx
    from benchmarks.rollout.ir_surgery import break_ir

    return break_ir


def _shift_labels(path: Path) -> None:
    """The names one class off."""
    names = path.read_text().splitlines()
    path.write_text("\n".join([*names[1:], names[0]]) + "\n")


def _prepare_wrongly(draft: Path, manifest: dict[str, Any]) -> None:
    """Numbers of another range than the model was trained with, in the golden answers too."""
    is_raw = manifest["preprocess"].get("std") in (None, [1, 1, 1], [1.0, 1.0, 1.0])
    mean, std = ([127.0] * 3, [128.0] * 3) if is_raw else ([0.0] * 3, [1.0] * 3)
    manifest["preprocess"] |= {"mean": mean, "std": std}
    _write(draft, manifest)
    bundle = load_bundle(draft)
    engine = open_bundle_engine(bundle, ThreadPlan(1, 1, "golden answers"))
    for golden in bundle.manifest.golden:
        sample = prepare_golden(bundle.manifest.preprocess, golden.input, bundle.read(golden.input))
        safetensors.numpy.save_file(run_one(engine, sample.tensor), draft / golden.expected)
    engine.close()
    _write(draft, manifest)


def _write(draft: Path, manifest: dict[str, Any]) -> None:
    manifest["files"] = {
        path: hashlib.sha256((draft / path).read_bytes()).hexdigest() for path in manifest["files"]
    }
    (draft / MANIFEST_FILE).write_text(yaml.safe_dump(manifest, sort_keys=False))
