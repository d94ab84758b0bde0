"""The boxes that are measured."""

from pathlib import Path

import pytest

from benchmarks.performance.scaling.many import FPS, many_config, paces
from edge_runtime.config import Config


@pytest.mark.parametrize("cameras", [1, 2, 8, 16])
def test_cameras_have_different_rates_and_the_same_mean(cameras: int) -> None:
    found = paces(cameras)
    assert len(set(found)) == cameras
    assert sum(found) / cameras == pytest.approx(FPS, rel=1e-4)


def test_models_share_the_cameras(tmp_path: Path) -> None:
    config = Config.model_validate({**many_config(tmp_path, 4, 2), "state_dir": str(tmp_path)})
    assert [one.model for one in config.cameras.values()] == ["model-0", "model-1"] * 2
