"""From a verified bundle to a warm engine, with the bundle's own model or with a patched one."""

from calibration.patch import Patch
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import ModelFiles
from edge_runtime.bundles.verify import Bundle
from edge_runtime.inference.engines.base import Engine, EngineSettings
from edge_runtime.inference.engines.corrected_input import CorrectedInputEngine
from edge_runtime.inference.engines.factory import DEFAULTS, open_engine
from edge_runtime.inference.engines.parts import parts_of
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.specs import AnomalySpec, reads_input


def open_bundle_engine(
    bundle: Bundle,
    threads: ThreadPlan,
    settings: EngineSettings = DEFAULTS,
    model: ModelFiles | None = None,
    patch: Patch | None = None,
) -> Engine:
    """A warm engine for the bundle's model, or for ``model``, a patched copy of it.

    ``patch`` is the one in that copy. It is asked for where the answer is compared with the input
    (:func:`~edge_runtime.inference.specs.reads_input`), which the patch may correct.

    Raises:
        BundleError: the model file changed since it was verified.
        EngineError: the engine refuses the model, is not installed, or has no such device.
    """
    spec = bundle.manifest.preprocess
    files = bundle.model_files if model is None else model
    engine = open_engine(files, bundle.manifest.format, spec.tensor_shape, threads, settings, parts_of(spec))
    on_input = None if patch is None else patch.taps.get(INPUT_TAP)
    postprocess = bundle.manifest.postprocess
    if on_input is None or not isinstance(postprocess, AnomalySpec) or not reads_input(postprocess):
        return engine
    return CorrectedInputEngine(engine, on_input, spec.channel_axis, postprocess.output)
