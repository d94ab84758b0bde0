"""Takes out of a model's state the pictures that earlier settings allowed: in baselines and in reports.

The files of the reservoir are ``reservoir_store``'s.
"""

from pathlib import Path

import structlog

from calibration import Baseline
from calibration.errors import CalibrationError
from calibration.report.page import without_pictures
from calibration.stats.regular_file import read_whole
from edge_runtime.errors import StateError
from edge_runtime.recalibration.reports import LARGEST_PAGE_BYTES
from edge_runtime.system.atomic_file import write_atomically

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


def forget_thumbnails(folder: Path) -> None:
    """Rewrite every report page below ``folder`` without its thumbnails.

    A page that cannot be rewritten is removed; where not even that is possible the log says so.
    """
    for path in sorted(folder.rglob("report.html")):
        try:
            text = read_whole(path, LARGEST_PAGE_BYTES).decode(errors="replace")
            bare = without_pictures(text)
            if bare == text:
                continue
            write_atomically(path, bare.encode())
        except (OSError, StateError) as err:
            _remove(path, str(err))
        else:
            log.info("thumbnails of a report removed", path=str(path))


def _remove(path: Path, reason: str) -> None:
    try:
        path.unlink()
    except OSError as err:
        log.error("thumbnails of a report not removed", path=str(path), reason=err.strerror)
    else:
        log.warning("report page removed instead of its thumbnails", path=str(path), reason=reason)
