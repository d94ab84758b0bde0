"""From a verified bundle to a warm engine, with the bundle's own model or with a patched one."""

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.verify import Bundle
from edge_runtime.inference.engines.base import Engine, EngineSettings
from edge_runtime.inference.engines.factory import DEFAULTS, open_engine
from edge_runtime.inference.engines.parts import parts_of
from edge_runtime.inference.engines.threads import ThreadPlan


def open_bundle_engine(
    bundle: Bundle, threads: ThreadPlan, settings: EngineSettings = DEFAULTS, model: ModelFiles | None = None
) -> Engine:
    """A warm engine for the bundle's model, or for ``model``, a patched copy of it.

    Raises:
        BundleError: the model file changed since it was verified.
        EngineError: the engine refuses the model, is not installed, or has no such device.
    """
    spec = bundle.manifest.preprocess
    files = bundle.model_files if model is None else model
    return open_engine(files, bundle.manifest.format, spec.tensor_shape, threads, settings, parts_of(spec))
