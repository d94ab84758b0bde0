"""The report of a recalibration for people: ``report.json`` and ``report.html``, made in the recalibration process.

A page that cannot be made never stands in the way of a patch: it is logged and left out. Its look is in
``calibration.report.page``, its place in ``reports``.
"""

from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from calibration import Baseline, Verdict
from calibration.errors import CalibrationError
from calibration.report.data import gather
from calibration.report.page import Setting, page
from calibration.report.thumbnails import PictureScale
from edge_runtime.bundles.verify import Bundle
from edge_runtime.errors import StateError
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.event_forms import as_data
from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.job.messages import JobRequest
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()


def leave_report(
    folder: Path,
    figures: RecalibrationReport,
    bundle: Bundle,
    baseline: Baseline,
    x: NDArray[np.float32],
    verdict: Verdict,
    request: JobRequest,
) -> None:
    """Write ``figures`` and the page about the verdict on the reference frames ``x``, float32 (N, C, H, W).

    The page has thumbnails where the request allows pictures. The folder is made if needed.

    Raises:
        StateError: the disk refuses the JSON report.
    """
    folder.mkdir(exist_ok=True)
    write_atomically(folder / "report.json", encode_object(as_data(figures)))
    try:
        scale = make_picture_scale(bundle.manifest.preprocess)
        material = gather(
            bundle.model_files,
            baseline,
            x,
            verdict,
            with_pictures=request.keep_pictures,
            scale=scale,
        )
        text = page(verdict, baseline, material, _make_setting(bundle, verdict, request))
        write_atomically(folder / "report.html", text.encode())
    except (CalibrationError, StateError, MemoryError) as err:
        log.error("report page not made", reason=str(err) or "not enough memory")


def make_picture_scale(spec: PreprocessSpec) -> PictureScale | None:
    """Black and white per channel, and the order of the colours, of samples prepared in this way; None: no pictures."""
    if isinstance(spec, SignalSpec):
        return None
    mean, std = np.asarray(spec.mean, np.float64), np.asarray(spec.std, np.float64)
    return PictureScale((0 - mean) / std, (255 - mean) / std, is_bgr=spec.is_bgr)


def _make_setting(bundle: Bundle, verdict: Verdict, request: JobRequest) -> Setting:
    reference = request.reference
    facts = {"Bundle": bundle.id, "Begun by": request.cause, "Reference": reference.name}
    if reference.folder is not None:
        facts["Reference"] = f"{reference.name}: the {bundle.manifest.preprocess.noun}s in {reference.folder}"
    if request.is_dry_run:
        facts["Dry run"] = "nothing was changed, whatever the gate decided"
        return Setting(f"Dry run of a recalibration of {bundle.id}", request.at_wall_s, facts)
    back = "edge-runtime send rollback --config CONFIG"
    further = (("Take it back", back),) if verdict.accepted else ()
    return Setting(f"Recalibration of {bundle.id}", request.at_wall_s, facts, further)
