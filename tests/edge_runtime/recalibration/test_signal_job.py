"""The recalibration job on windows: a baseline of healthy ones, and a patch for a sensor that has drifted."""

import numpy as np
import pytest

from calibration.baseline.baseline import Baseline
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.job.messages import CommissioningResult
from edge_runtime.recalibration.task import ChosenReference, Kind
from tests.support.jobs import run_job
from tests.support.signal_bundles import CHANNELS, build_signal_bundle, machine_windows
from tests.support.signal_jobs import COUNT, drift, make_order, share_right, values_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(build_signal_bundle(tmp_path_factory.mktemp("bundle"), healthy=32))


@pytest.fixture(scope="module")
def site(bundle, tmp_path_factory):
    """A folder with the baseline of healthy windows."""
    folder = tmp_path_factory.mktemp("site")
    result = run_job(
        folder, make_order(Kind.COMMISSION, bundle, folder), values_of(machine_windows(COUNT, seed=41))
    )
    assert isinstance(result, CommissioningResult)
    return folder


def test_a_baseline_is_made_from_windows(site):
    baseline = Baseline.load(site / "baseline.safetensors")
    assert baseline.count == COUNT
    assert (site / "probe.onnx").exists()


def test_a_sensor_that_drifted_in_gain_and_offset_gets_a_patch_that_helps(bundle, site, tmp_path):
    drifted = [drift(window) for window in machine_windows(COUNT, seed=42)]
    report = run_job(tmp_path / "job", make_order(Kind.RECALIBRATE, bundle, site), values_of(drifted))
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
    assert not run_job(tmp_path / "job", make_order(Kind.RECALIBRATE, bundle, site), windows).accepted


def test_a_folder_of_windows_is_a_reference_set(bundle, site, tmp_path):
    folder = tmp_path / "now"
    folder.mkdir()
    np.save(folder / "day.npy", np.concatenate([drift(one) for one in machine_windows(COUNT, seed=45)]))
    reference = ChosenReference("folder", folder)
    report = run_job(tmp_path / "job", make_order(Kind.RECALIBRATE, bundle, site, reference))
    assert report.accepted, report.reasons


def test_a_channel_that_died_is_named_as_in_the_bundle(bundle, site, tmp_path):
    windows = values_of(machine_windows(COUNT, seed=46))
    windows[:, 1] = windows[0, 1, 0]
    report = run_job(tmp_path / "job", make_order(Kind.RECALIBRATE, bundle, site), windows)
    assert isinstance(report, RecalibrationReport)
    assert not report.accepted
    words = {word.strip(".,") for reason in report.reasons for word in reason.split()}
    assert words & set(CHANNELS) == {CHANNELS[1]}
