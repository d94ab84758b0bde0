import numpy as np
import pytest

from calibration import Baseline
from calibration.baseline.packing import pack_healthy_samples
from calibration.stats.moments import FrameMoments, Moments, TapMoments
from edge_runtime.deployment.reports import forget_thumbnails
from edge_runtime.recalibration.reference.erasure import forget_samples


@pytest.fixture
def baseline():
    rng = np.random.default_rng(0)
    one = FrameMoments(rng.normal(size=(4, 3)), rng.uniform(1, 2, (4, 3)))
    return Baseline(
        moments=Moments({"input": TapMoments(np.zeros(3), np.ones(3), 4.0)}),
        frames={"input": one},
        model_sha256="0" * 64,
        input_shape=(3, 8, 8),
        count=4,
        effective_count=4.0,
        created_wall_s=0.0,
        library="1",
        healthy_samples=pack_healthy_samples(rng.integers(0, 256, (4, 3, 8, 8)).astype(np.float32)),
    )


def test_baselines_lose_their_pictures_and_stay_the_same_baselines(tmp_path, baseline):
    for name in ("baseline.safetensors", "baselines/night.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        baseline.save(tmp_path / name)
    (tmp_path / "patch.safetensors").write_bytes(b"something else")
    forget_samples(tmp_path)
    paths = [tmp_path / "baseline.safetensors", tmp_path / "baselines" / "night.safetensors"]
    for path in paths:
        assert Baseline.load(path).healthy_samples is None
        assert Baseline.load(path).id == baseline.id
    written = [path.stat().st_ino for path in paths]
    forget_samples(tmp_path)
    assert [path.stat().st_ino for path in paths] == written
    assert (tmp_path / "patch.safetensors").read_bytes() == b"something else"


def test_a_state_without_baselines_has_nothing_to_forget(tmp_path):
    forget_samples(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_report_pages_lose_their_thumbnails_and_keep_the_rest(tmp_path):
    page = tmp_path / "patches" / "p1" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>a<!-- pictures begin --><img src='data:,'>\n<!-- pictures end -->b</p>")
    forget_thumbnails(tmp_path)
    assert page.read_text() == "<p>a<!-- pictures removed -->b</p>"
    written = page.stat().st_ino
    forget_thumbnails(tmp_path)
    assert page.stat().st_ino == written
