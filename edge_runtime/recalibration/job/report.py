"""What a recalibration leaves for people: ``report.json`` and ``report.html``, made in the recalibration process.

A page that cannot be made never stands in the way of a patch: it is logged and left out. How it looks is
``calibration.report.page``'s business, where it is kept ``reports``'.
"""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import structlog
from numpy.typing import NDArray

from calibration import Baseline, Verdict
from calibration.errors import CalibrationError
from calibration.report.data import gather
from calibration.report.page import Setting, page
from calibration.report.thumbnails import PictureScale
from edge_runtime.bundles.verify import Bundle
from edge_runtime.errors import StateError
from edge_runtime.inference.specs import PreprocessSpec
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()


def leave_report(
    folder: Path,
    figures: dict[str, Any],
    bundle: Bundle,
    baseline: Baseline,
    x: NDArray[np.float32],
    verdict: Verdict,
    job: dict[str, Any],
) -> None:
    """Write both files into ``folder``, which is made if needed.

    Args:
        folder: The patch's, or one for a refusal.
        figures: The JSON report.
        bundle: The unpatched model and how its samples were prepared.
        baseline: The healthy site.
        x: The reference frames, float32 (N, C, H, W).
        verdict: What was decided on them.
        job: As in ``recalibration_job.job_order``; ``keep_pictures`` decides about thumbnails.

    Raises:
        StateError: the disk refuses the JSON report.
    """
    folder.mkdir(exist_ok=True)
    write_atomically(folder / "report.json", orjson.dumps(figures, option=orjson.OPT_SERIALIZE_NUMPY))
    try:
        scale = picture_scale(bundle.manifest.preprocess)
        material = gather(
            bundle.model_files,
            baseline,
            x,
            verdict,
            with_pictures=job["keep_pictures"],
            scale=scale,
            threads=job["threads"],
        )
        text = page(verdict, baseline, material, _setting(bundle, verdict, job))
        write_atomically(folder / "report.html", text.encode())
    except (CalibrationError, StateError, MemoryError) as err:
        log.error("report page not made", reason=str(err) or "not enough memory")


def picture_scale(spec: PreprocessSpec) -> PictureScale:
    """What a sample prepared in this way shows: black and white per channel, and the order of the colours."""
    mean, std = np.asarray(spec.mean, np.float64), np.asarray(spec.std, np.float64)
    return PictureScale((0 - mean) / std, (255 - mean) / std, is_bgr=spec.colour == "bgr")


def _setting(bundle: Bundle, verdict: Verdict, job: dict[str, Any]) -> Setting:
    facts = {"Bundle": bundle.id, "Begun by": job["cause"]}
    if job["reference_folder"] is not None:
        facts["Reference"] = f"the pictures in {job['reference_folder']}"
    back = "edge-runtime send rollback --config CONFIG"
    return Setting(
        f"Recalibration of {bundle.id}",
        job["at"],
        facts,
        (("Take it back", back),) if verdict.accepted else (),
    )
