"""The recalibration job on windows: a baseline of healthy ones, and a patch for a sensor that has drifted."""

import io

import numpy as np
import pytest

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import BaselineFacts
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import RecalibrationConfig, ReferenceConfig
from edge_runtime.datatypes import Frame, Sample
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.job import worker
from edge_runtime.recalibration.job.messages import REQUEST, RESULT, CommissioningResult, JobRequest
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from tests.support.signal_bundles import LABELS, build_signal_bundle, machine_windows, signal_spec

pytestmark = pytest.mark.integration
COUNT = 96


def order(kind, bundle, folder, reference=None, **settings):
    return JobRequest(
        kind,
        Cause.COMMAND,
        12.0,
        bundle.path,
        folder / "baseline.safetensors",
        reference or ChosenReference(),
        COUNT,
        RecalibrationConfig(reference=ReferenceConfig(frames=COUNT), **settings),
        BaselineFacts(),
        (),
        bundle.manifest.sha256,
    )


@pytest.fixture(autouse=True, scope="module")
def _no_limits():
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(worker, "_limit_this_process", lambda memory_mib: None)
        yield


def run(folder, job, windows=None):
    folder.mkdir(exist_ok=True)
    REQUEST.write(folder, job)
    handed = None
    if windows is not None:
        handed = io.BytesIO()
        np.save(handed, windows, allow_pickle=False)
        handed.seek(0)
    worker.main(folder, handed)
    return RESULT.read(folder)


def drift(window):
    """The sensor gives 1.6 times as much, and half a g more on its last axis."""
    return window * 1.6 + np.array([0.0, 0.0, 0.5])


def samples_of(windows, spec=None):
    prepare = make_preprocessor(spec or signal_spec()).prepare
    samples = [prepare(Frame("pump", i, window, 0.0, 0.0)) for i, window in enumerate(windows)]
    assert all(isinstance(sample, Sample) for sample in samples)
    return samples


def values_of(windows):
    """(N, C, T) float32 in g, as the reservoir keeps them."""
    return np.stack([sample.values for sample in samples_of(windows)])


def share_right(engine, windows):
    x = np.stack([sample.tensor for sample in samples_of(windows)])
    answers = engine.infer(x)["logits"].argmax(axis=1)
    return float((answers == np.arange(len(windows)) % len(LABELS)).mean())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(build_signal_bundle(tmp_path_factory.mktemp("bundle"), healthy=32))


@pytest.fixture(scope="module")
def site(bundle, tmp_path_factory):
    """A folder with the baseline of healthy windows."""
    folder = tmp_path_factory.mktemp("site")
    result = run(folder, order(Kind.COMMISSION, bundle, folder), values_of(machine_windows(COUNT, seed=41)))
    assert isinstance(result, CommissioningResult)
    return folder


def test_a_baseline_is_made_from_windows(site):
    baseline = Baseline.load(site / "baseline.safetensors")
    assert baseline.count == COUNT
    assert (site / "probe.onnx").exists()


def test_a_sensor_that_drifted_in_gain_and_offset_gets_a_patch_that_helps(bundle, site, tmp_path):
    drifted = [drift(window) for window in machine_windows(COUNT, seed=42)]
    report = run(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site), values_of(drifted))
    assert isinstance(report, RecalibrationReport)
    assert report.accepted, report.reasons
    assert (tmp_path / "job" / "patch" / "report.html").exists()
    test = machine_windows(400, seed=43)
    healthy = share_right(OnnxEngine(bundle.model_files.data), test)
    before = share_right(OnnxEngine(bundle.model_files.data), [drift(one) for one in test])
    patched = OnnxEngine((tmp_path / "job" / "patch" / "model.onnx").read_bytes())
    after = share_right(patched, [drift(one) for one in test])
    assert (after - before) >= 0.8 * (healthy - before)


def test_a_healthy_sensor_gets_no_patch(bundle, site, tmp_path):
    windows = values_of(machine_windows(COUNT, seed=44))
    assert not run(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site), windows).accepted


def test_a_folder_of_windows_is_a_reference_set(bundle, site, tmp_path):
    folder = tmp_path / "now"
    folder.mkdir()
    np.save(folder / "day.npy", np.concatenate([drift(one) for one in machine_windows(COUNT, seed=45)]))
    reference = ChosenReference("folder", folder)
    report = run(tmp_path / "job", order(Kind.RECALIBRATE, bundle, site, reference))
    assert report.accepted, report.reasons
