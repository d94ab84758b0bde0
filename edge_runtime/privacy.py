"""Takes out of a model's state the pictures that earlier settings allowed: those that baselines keep as a witness.

The reservoir's own files are ``reservoir_store``'s, and jobs are told to make none. Called by ``live_reference`` at
start and when ``recalibration.reference.pictures`` turns to ``never``.
"""

from pathlib import Path

import structlog

from calibration import Baseline
from calibration.errors import CalibrationError

log = structlog.get_logger()


def forget_witnesses(folder: Path) -> int:
    """Rewrite every baseline below ``folder`` without its pictures; gives how many had some.

    What cannot be rewritten is named in the log: its pictures are still there.
    """
    found = 0
    for path in sorted(folder.rglob("*.safetensors")):
        try:
            baseline = Baseline.load(path)
        except CalibrationError:  # a patch, or a damaged file that nothing will read
            continue
        if baseline.witness is None:
            continue
        found += 1
        try:
            baseline.without_witness().save(path)
        except OSError as err:
            log.error("pictures of a baseline not removed", path=str(path), reason=err.strerror)
        else:
            log.info("pictures of a baseline removed", path=str(path))
    return found
