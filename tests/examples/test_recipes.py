"""The recipes of the examples are well formed; that they build good bundles takes minutes and the published weights."""

import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.bundles.build.recipe_file import read_recipe
from tests.support.paths import DEMO, ROOT
from tests.support.waiting import WAIT_S


@pytest.mark.integration
@pytest.mark.parametrize(
    ("module", "missing"),
    [("efficientnet_lite0", "skimage"), ("efficientnet_lite0", "torch"), ("street_pedestrians", "openvino")],
)
def test_a_missing_extra_is_said(module: str, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import examples.{module}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 64
    assert "edge-runtime[" in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_holds_all_but_what_its_module_makes(path: Path) -> None:
    made = {
        "model": str(DEMO / "street.mp4"),
        "calibration": str(DEMO / "pictures"),
        "golden": str(DEMO / "pictures"),
    }
    recipe = read_recipe(path, made)
    assert recipe.name == path.stem.replace("_", "-")
    assert recipe.quantize == "int8"
    assert recipe.licence
