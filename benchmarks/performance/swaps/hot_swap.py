"""Hot swaps under load: dropped frames, the worst call, and memory: ``benchmarks run hot-swap``.

30 swaps under a live 30 frames/s, 30 flat out, and 200 for memory. The worst call is compared with that of as
long a time without swaps, because a busy box has slow calls anyway.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import safetensors.numpy

import calibration
from benchmarks.performance.bare_runs import BUNDLE, Report, pictures_in
from benchmarks.performance.swaps.swap_load import PATCHES
from calibration.targets import model_files
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.self_test import answer_golden_inputs
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.deployment.model_state import ANSWERS_FILE, ModelState
from edge_runtime.inference.engines.threads import ThreadPlan

LIVE_FPS = 30.0


def swapped(swaps: int, pause_s: float, fps: float | None, bundle: Path = BUNDLE) -> Report:
    """So many swaps in a fresh process, and what became of frames, calls and memory."""
    with tempfile.TemporaryDirectory(prefix="swap-") as name:
        folder = Path(name)
        pictures = pictures_in(folder / "pictures", bundle)
        model_state = ModelState.open(folder / "state", "bench")
        for patch_id, gain in zip(PATCHES, (1.01, 0.99), strict=True):
            put_patch(model_state, load_bundle(bundle), patch_id, gain)
        order: Report = {
            "bundle": str(bundle.resolve()),
            "state": str(folder / "state"),
            "swaps": swaps,
            "fps": fps,
        }
        order |= {"pictures": [str(path) for path in pictures], "pause_s": pause_s}
        (folder / "order.json").write_text(json.dumps(order))
        command = [sys.executable, "-m", "benchmarks.performance.swaps.swap_load", str(folder / "order.json")]
        done = subprocess.run(command, check=True, capture_output=True, timeout=300)
    return _summed(json.loads(done.stdout))


def put_patch(model_state: ModelState, bundle: Bundle, patch_id: str, gain: float) -> None:
    """A patch of all taps, as a recalibration would leave it."""
    target = calibration.open_target(bundle.model_files)
    taps = {
        tap.name: calibration.Affine(
            np.full(tap.channels, gain, np.float32), np.full(tap.channels, 0.0, np.float32)
        )
        for tap in target.taps
    }
    facts: dict[str, Any] = {
        "baseline_id": "bench",
        "candidate": "all taps",
        "frames": 1,
        "created_wall_s": 0.0,
    }
    patch = calibration.Patch(taps=taps, model_sha256=target.sha256, **facts)
    files = calibration.patched(bundle.model_files, patch).files
    folder = model_state.patches / patch_id
    folder.mkdir()
    patch.save(folder / "patch.safetensors")
    model_files.write(folder / f"model{model_files.suffix(files)}", files)
    engine = open_bundle_engine(bundle, ThreadPlan(1, 1, "patch"), model=files)
    safetensors.numpy.save_file(answer_golden_inputs(bundle, engine), folder / ANSWERS_FILE)
    (folder / "report.json").write_bytes(orjson.dumps({"model_sha256": files.sha256}))


def _summed(found: Report) -> Report:
    calls, alone = np.asarray(found.pop("call_ms_swapping")), np.asarray(found.pop("call_ms_alone"))
    swap_ms = found.pop("swap_ms")
    memory = dict(found["pss_mib"])
    missing = found["accepted"] - found["results"] - found["rejected"]
    settled = memory.get(10, memory[0])
    return {
        **found,
        "dropped": missing - found["overloaded"] + found["overloaded_swapping"],
        "dropped_without_swaps": found["overloaded"] - found["overloaded_swapping"],
        "calls": len(calls),
        "call_ms_p50": float(np.median(calls)),
        "call_ms_p99": float(np.percentile(calls, 99)),
        "worst_over_p50": float(calls.max() / np.median(calls)),
        "worst_over_p50_without_swaps": float(alone.max() / np.median(alone)),
        "p99_over_p50_without_swaps": float(np.percentile(alone, 99) / np.median(alone)),
        "swap_ms_p50": float(np.median(swap_ms)),
        "growth": memory[max(memory)] / memory[0] - 1,
        "growth_after_10": memory[max(memory)] / settled - 1,
    }


def measure(*, quick: bool) -> Report:
    """The three cases."""
    few, many = (5, 20) if quick else (30, 200)
    return {
        "live": swapped(few, 0.3, LIVE_FPS),
        "flat_out": swapped(few, 0.3, None),
        "memory": swapped(many, 0.0, LIVE_FPS),
    }
