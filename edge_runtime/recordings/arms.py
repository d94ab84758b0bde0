"""A bundle, or a bundle with a patch, that answers recorded frames as the daemon would: the same parts, one by one."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import calibration
from calibration.errors import CalibrationError
from calibration.patch import Patch
from calibration.targets.base import ModelFiles
from edge_runtime.bundles.compare import Comparison, choose_comparison
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.sandbox_check import check_in_sandbox
from edge_runtime.bundles.self_test import golden_outputs, run_one, self_test
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.datatypes import Frame, Generation, Rejected, Sample
from edge_runtime.errors import RecordingError
from edge_runtime.inference.engines.base import Engine, EngineSettings, close_on_error
from edge_runtime.inference.engines.factory import DEFAULTS
from edge_runtime.inference.engines.threads import choose_threads, cpu_budget
from edge_runtime.inference.postprocess.postprocessor import Answer, Postprocessor
from edge_runtime.inference.preprocess import Preprocessor, make_preprocessor


@dataclass(frozen=True, slots=True)
class Answered:
    """A frame that was answered. Times are milliseconds."""

    sample: Sample
    answer: Answer
    outputs: Mapping[str, NDArray[Any]]
    """Raw, without the batch axis."""
    prepare_ms: float
    infer_ms: float


@dataclass(frozen=True, slots=True)
class Arm:
    """What answers; ``close`` frees it."""

    generation: Generation
    bundle: Bundle
    patch: Patch | None
    engine: Engine
    preprocessor: Preprocessor
    postprocessor: Postprocessor
    compare: Comparison
    """As answers are compared with the golden ones at every start; ``bundle.manifest.tolerance`` is allowed."""

    def answer(self, frame: Frame) -> Answered | Rejected:
        """The answer to one frame.

        Raises:
            EngineError: the engine failed.
        """
        began_s = time.perf_counter()
        sample = self.preprocessor.prepare(frame)
        if isinstance(sample, Rejected):
            return sample
        prepared_s = time.perf_counter()
        outputs = run_one(self.engine, sample.tensor)
        done_s = time.perf_counter()
        answer = self.postprocessor.read(sample, outputs)
        if isinstance(answer, Rejected):
            return answer
        times = (prepared_s - began_s) * 1000, (done_s - prepared_s) * 1000
        return Answered(sample, answer, {name: array.copy() for name, array in outputs.items()}, *times)

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()


def open_arm(bundle_folder: Path, patch: Path | None = None, settings: EngineSettings = DEFAULTS) -> Arm:
    """Verify and test a bundle and open what answers.

    Raises:
        BundleError: the bundle cannot be used.
        RecordingError: the patch cannot be read, or is of another model.
        EngineError: the engine refuses the model.
    """
    bundle = load_bundle(bundle_folder)
    check_in_sandbox(bundle)
    plan = choose_threads(cpu_budget(), 1)
    golden = [golden_outputs(bundle, one) for one in bundle.manifest.golden]
    compare = choose_comparison(bundle.manifest.compare, bundle.manifest, golden)
    engine = open_bundle_engine(bundle, plan, settings)
    with close_on_error(engine):
        self_test(bundle, engine)
    generation, loaded = Generation(bundle.id), None
    if patch is not None:
        engine.close()
        model, loaded = _patch(bundle.model_files, patch)
        generation = Generation(bundle.id, patch.stem)
        engine = open_bundle_engine(bundle, plan, settings, model, loaded)
    return Arm(
        generation,
        bundle,
        loaded,
        engine,
        make_preprocessor(bundle.manifest.preprocess),
        Postprocessor(bundle.manifest, bundle.labels),
        compare,
    )


def _patch(model: ModelFiles, path: Path) -> tuple[ModelFiles, Patch]:
    try:
        patch = Patch.load(path)
        return calibration.patched(model, patch).files, patch
    except CalibrationError as err:
        fix = "Name the patch and the bundle that belong together."
        raise RecordingError(path, str(err), "a patch of this bundle's model", fix) from err
