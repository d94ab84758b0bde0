"""A model that gives its input again, in every format: from healthy windows to a patch in force after a restart."""

import numpy as np
import pytest

from calibration.baseline.baseline import Baseline
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.daemon.wiring.models import build_engine
from edge_runtime.datatypes import Frame
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.open_bundle import OpenedModel
from edge_runtime.errors import StateError
from edge_runtime.inference.engines.factory import DEFAULTS
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.postprocess.numbers import draw_threshold
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.recalibration.healthy_scores import SCORES_FILE, read_scores
from edge_runtime.recalibration.task import Kind
from edge_runtime.recordings.arms import open_arm
from tests.support.autoencoders import SPEC, AutoencoderAuthor, knocked
from tests.support.jobs import run_job
from tests.support.signal_bundles import machine_windows
from tests.support.signal_jobs import COUNT, drift, make_order, values_of

pytestmark = pytest.mark.integration
ALONE = ThreadPlan(1, 1, "test")


def scores_of(bundle, engine, windows):
    """The scores that a daemon publishes."""
    prepare, read = (
        make_preprocessor(bundle.manifest.preprocess).prepare,
        Postprocessor(bundle.manifest, ()).read,
    )
    samples = [prepare(Frame("pump", i, window, 0.0, 0.0)) for i, window in enumerate(windows)]
    outputs = [engine.infer(sample.tensor[None]) for sample in samples]
    return np.array(
        [
            read(sample, {name: array[0] for name, array in one.items()}).anomaly.score
            for sample, one in zip(samples, outputs, strict=True)
        ]
    )


@pytest.mark.parametrize(
    ("kind", "layout"), [("onnx", "nct"), ("openvino", "nct"), ("torchscript", "nct"), ("onnx", "ntc")]
)
def test_a_drifted_sensor_gets_its_healthy_scores_back_and_anomalies_are_still_found(tmp_path, kind, layout):
    bundle = load_bundle(AutoencoderAuthor(tmp_path, kind, layout).build().path)
    state = ModelState.open(tmp_path / "state", "machine")
    first, again = state.jobs / "one", state.jobs / "two"
    run_job(first, make_order(Kind.COMMISSION, bundle, first), values_of(machine_windows(COUNT, seed=41)))
    baseline = Baseline.load(first / "baseline.safetensors")
    threshold = draw_threshold(SPEC, read_scores(first / SCORES_FILE, baseline.id))

    drifted = values_of([drift(one) for one in machine_windows(COUNT, seed=42)])
    report = run_job(again, make_order(Kind.RECALIBRATE, bundle, first), drifted)
    assert report.accepted, report
    state.adopt(again / "patch", "p1")

    patched = ModelState.open(tmp_path / "state", "machine").read_patched("p1")
    engine = open_bundle_engine(bundle, ALONE)
    base = OpenedModel(bundle, bundle.model_files, ALONE, DEFAULTS, engine)
    test = machine_windows(100, seed=43)
    live, knocks = [drift(one) for one in test], [drift(one) for one in knocked(test)]
    healthy = scores_of(bundle, engine, test)
    assert (scores_of(bundle, engine, live) > threshold).mean() > 0.9
    active = build_engine(base, patched)
    after = scores_of(bundle, active, live)
    assert (after > threshold).mean() <= (healthy > threshold).mean() + 0.02
    assert np.median(after) == pytest.approx(np.median(healthy), rel=0.1)
    assert (scores_of(bundle, active, knocks) > threshold).mean() > 0.95
    arm = open_arm(bundle.path, state.patch_path("p1"))  # as a recording is answered again
    np.testing.assert_allclose(scores_of(bundle, arm.engine, live), after, rtol=1e-4)

    patched.patch_file.write_bytes(b"damaged")
    with pytest.raises(StateError):
        build_engine(base, patched)
