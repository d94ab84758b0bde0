"""The anomaly scores of a baseline's frames, in a file next to it: by these the site's threshold is drawn.

They come from the bundle's model as it is, without a patch, on the frames that made the baseline. They stay as they are
while patches come and go: a patch that is right brings the scores of healthy windows back to them, and a threshold that
followed the patched scores would move with a machine that wears.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import structlog
from numpy.typing import NDArray

from calibration.stats.regular_file import read_whole
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.verify import Bundle
from edge_runtime.errors import StateError
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.postprocess.numbers import measure_anomaly
from edge_runtime.inference.postprocess.output_flaw import OutputFlaw
from edge_runtime.inference.specs import AnomalySpec
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()

SCORES_FILE = "scores.json"
MOST_BYTES = 1 << 20
"""4,096 scores have 80 KiB."""


def score_frames(bundle: Bundle, spec: AnomalySpec, x: NDArray[np.float32]) -> list[float]:
    """The scores of frames, by the bundle's own model; those that cannot be read are left out.

    Args:
        bundle: Whose model answers.
        spec: Its postprocessing.
        x: Prepared frames (N, ...), channels second.

    Raises:
        BundleError, EngineError: the model cannot be opened.
    """
    axis = bundle.manifest.preprocess.channel_axis + 1
    engine = open_bundle_engine(bundle, ThreadPlan(1, 1, "scores"))
    try:
        found = list[float]()
        for tensor in np.moveaxis(x, 1, axis):
            outputs = engine.infer(np.ascontiguousarray(tensor)[np.newaxis])
            found += _score(spec, {name: array[0] for name, array in outputs.items()}, tensor)
        return found
    finally:
        engine.close()


def _score(
    spec: AnomalySpec, outputs: dict[str, NDArray[np.float32]], tensor: NDArray[np.float32]
) -> Iterator[float]:
    try:
        yield measure_anomaly(spec, outputs, tensor)
    except OutputFlaw as flaw:
        log.warning("a healthy frame has no score", reason=str(flaw))


def write_scores(path: Path, baseline_id: str, scores: list[float]) -> None:
    """Keep the scores of a baseline's frames.

    Raises:
        StateError: the disk refuses.
    """
    write_atomically(path, orjson.dumps({"baseline": baseline_id, "scores": sorted(scores)}))


def read_scores(path: Path, baseline_id: str) -> list[float]:
    """Those of this baseline; none where the file is missing, damaged or of another baseline."""
    try:
        stored = orjson.loads(read_whole(path, MOST_BYTES))
        scores = [float(one) for one in stored["scores"]] if stored["baseline"] == baseline_id else []
    except FileNotFoundError:
        return []
    except (OSError, StateError, ValueError, KeyError, TypeError) as err:
        log.error("healthy scores damaged: no threshold until 'commission'", path=str(path), reason=str(err))
        return []
    return [one for one in scores if np.isfinite(one)]
