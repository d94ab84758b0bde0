"""The threshold of an anomaly comes from the windows that made the baseline, and stays while patches come and go."""

import numpy as np
import orjson
import pytest

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import BaselineFacts
from calibration.stats.moments import ANSWERS_TAP
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.config import RecalibrationConfig
from edge_runtime.errors import BundleError
from edge_runtime.inference.postprocess.healthy_threshold import HealthyThreshold
from edge_runtime.inference.specs import AnomalySpec
from edge_runtime.recalibration.healthy_scores import SCORES_FILE, read_scores, write_scores
from edge_runtime.recalibration.job.messages import CommissioningResult, JobRequest
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from tests.support.controller_bench import ControllerBench, a_baseline
from tests.support.jobs import run_job
from tests.support.onnx_nets import Net
from tests.support.signal_bundles import build_signal_bundle, machine_windows

pytestmark = pytest.mark.integration
SPEC = AnomalySpec(task="anomaly", score="reconstruction", quantile=1.0, factor=1.0)
OUTPUT = AnomalySpec(task="anomaly", score="output", quantile=1.0, factor=1.0)


def autoencoder():
    """conv - BatchNorm - conv, the input's shape again."""
    net = Net(3)
    x = net.add(
        "Conv", ["input", net.normal("in_w", 6, 3, 5, scale=0.3)], "in", pads=[2, 2], kernel_shape=[5]
    )
    ones, zeros = np.ones(6, np.float32), np.zeros(6, np.float32)
    stats = [
        net.weight(f"bn_{name}", one) for name, one in zip("sbmv", (ones, zeros, zeros, ones), strict=True)
    ]
    x = net.add("Relu", [net.add("BatchNormalization", [x, *stats], "bn")], "relu")
    net.add("Conv", [x, net.normal("out_w", 3, 6, 5, scale=0.3)], "again", pads=[2, 2], kernel_shape=[5])
    return net.model("again", ("N", 3, 256), ("N", 3, 256))


def test_a_commissioning_scores_the_windows_of_its_baseline(tmp_path):
    bundle = load_bundle(build_signal_bundle(tmp_path, model=autoencoder(), postprocess=SPEC, labels=()))
    windows = np.stack([one.T for one in machine_windows(40, seed=1)]).astype(np.float32)
    folder = tmp_path / "job"
    job = JobRequest(
        Kind.COMMISSION, Cause.COMMAND, 12.0, bundle.path, folder / "baseline.safetensors", ChosenReference(), 40,
        RecalibrationConfig(), BaselineFacts(), (), bundle.manifest.sha256,
    )  # fmt: skip
    assert isinstance(run_job(folder, job, windows), CommissioningResult)
    stored = orjson.loads((folder / SCORES_FILE).read_bytes())
    baseline = Baseline.load(folder / "baseline.safetensors")
    assert stored["baseline"] == baseline.id
    kept = np.sort(baseline.frames[ANSWERS_TAP].mean[:, 0])  # as the drift monitor knows the same answers
    np.testing.assert_allclose(stored["scores"], kept, rtol=1e-4)
    assert len(kept) == 40


def commission(bench, name, seed, scores):
    bench.request("commission", name=name)
    bench.feed(16)
    job = bench.jobs[-1]
    baseline = a_baseline(seed, job.request.facts)
    write_scores(job.folder / SCORES_FILE, baseline.id, scores)
    baseline.save(job.folder / "baseline.safetensors")
    (job.folder / "probe.onnx").write_bytes(b"probe")
    job.end(CommissioningResult(16, 1, 16.0))
    bench.tick()


@pytest.fixture
def site(tmp_path):
    """Makes a controller in one folder; again after a restart."""

    def make():
        threshold = HealthyThreshold(OUTPUT)
        return ControllerBench(tmp_path, commissioned=False, threshold=threshold), threshold

    return make


def test_there_is_no_threshold_before_the_site_is_commissioned(site):
    bench, threshold = site()
    assert threshold.read() is None
    commission(bench, "day", 1, [1.0, 2.0, 3.0])
    assert threshold.read() == 3.0


def test_a_restart_and_an_accepted_patch_keep_it(site):
    bench, _ = site()
    commission(bench, "day", 1, [1.0, 2.0, 3.0])
    bench, threshold = site()
    assert threshold.read() == 3.0
    bench.accept_one()
    assert bench.deployment.state.active.patch is not None
    assert threshold.read() == 3.0


def test_it_is_that_of_the_baseline_in_use(site):
    bench, threshold = site()
    commission(bench, "day", 1, [1.0, 2.0, 3.0])
    commission(bench, "night", 2, [5.0, 6.0])
    assert threshold.read() == 6.0
    bench.watch.changes = ["day"]
    bench.feed(2)
    assert threshold.read() == 3.0
    bench.request("baselines", name=None)
    bench.store.remove("day")
    assert sorted(path.name for path in bench.store.folder.glob("*.scores.json")) == ["night.scores.json"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"scores": [1]}', b'{"baseline": "b", "scores": "x"}'])
def test_damaged_scores_are_none(tmp_path, content):
    path = tmp_path / "day.scores.json"
    assert read_scores(path, "b") == []
    path.write_bytes(content)
    assert read_scores(path, "b") == []


def test_scores_of_another_baseline_do_not_count(tmp_path):
    write_scores(tmp_path / "one", "b", [3.0, 1.0])
    assert read_scores(tmp_path / "one", "b") == [1.0, 3.0]
    assert read_scores(tmp_path / "one", "c") == []


def test_a_reconstruction_of_another_shape_is_no_bundle(tmp_path):
    with pytest.raises(BundleError):
        build_signal_bundle(tmp_path, postprocess=SPEC, labels=())
