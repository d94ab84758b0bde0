"""Recalibration jobs in this process, without the limits that only a separate process can have."""

import io

import numpy as np
import pytest

from edge_runtime.recalibration.job import worker
from edge_runtime.recalibration.job.messages import REQUEST, RESULT


def run_job(folder, job, frames=None):
    """Its result; ``frames`` (N, ...) are handed over, as the reservoir keeps them."""
    folder.mkdir(parents=True, exist_ok=True)
    REQUEST.write(folder, job)
    handed = None
    if frames is not None:
        handed = io.BytesIO()
        np.save(handed, frames, allow_pickle=False)
        handed.seek(0)
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(worker, "_limit_this_process", lambda settings: None)
        worker.main(folder, handed)
    return RESULT.read(folder)
