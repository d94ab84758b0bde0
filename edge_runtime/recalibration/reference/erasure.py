"""Takes out of a model's baselines the pictures that earlier settings allowed.

Those in reports are taken out by ``deployment.reports``; the files of the reservoir are ``reservoir_store``'s.
"""

from pathlib import Path

import structlog

from calibration import Baseline
from calibration.errors import CalibrationError

log = structlog.get_logger()


def forget_samples(folder: Path) -> None:
    """Rewrite every baseline below ``folder`` without its pictures.

    A file that cannot be rewritten is named in the log: its pictures are still there.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        try:
            baseline = Baseline.load(path)
        except CalibrationError:  # a patch, or a damaged file that nothing will read
            continue
        if baseline.healthy_samples is None:
            continue
        try:
            baseline.without_samples().save(path)
        except OSError as err:
            log.error("pictures of a baseline not removed", path=str(path), reason=err.strerror)
        else:
            log.info("pictures of a baseline removed", path=str(path))
