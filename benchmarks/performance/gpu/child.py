"""Starts the process of one contender and reads its figures and answers."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.performance.gpu.contenders import Contender

LONGEST_S = 240.0
"""Of one process; the largest batches on a slow CPU need most of it in a rehearsal."""

Figures = dict[str, Any]
Answers = Mapping[int, NDArray[np.float32]]
"""Outputs for all pictures, (N, classes), by the size of the batches they were asked in."""


def run_contender(
    work: Path, contender: Contender, device: str, batches: Sequence[int], seconds: float
) -> tuple[Figures, Answers]:
    """Measure one contender; ``{"unavailable": why}`` and no answers where it cannot run."""
    order_path, answers_path = work / "order.json", work / "answers.npz"
    order = {
        "model": str(contender.path(work)), "format": contender.format, "precision": contender.precision,
        "device": device, "batches": batches, "seconds": seconds, "work": str(work), "answers": str(answers_path),
    }  # fmt: skip
    order_path.write_text(json.dumps(order))
    command = [sys.executable, "-m", "benchmarks.performance.gpu.one_contender", str(order_path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    except subprocess.TimeoutExpired:
        return {"unavailable": f"not done in {LONGEST_S:g} s"}, {}
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        return {"unavailable": f"failed: {last[0]}"}, {}
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    if "unavailable" in figures:
        return figures, {}
    with np.load(answers_path) as loaded:
        return figures, {int(size): loaded[size] for size in loaded.files}
