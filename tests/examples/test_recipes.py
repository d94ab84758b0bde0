"""The recipes of the examples are well formed; that they build good bundles takes minutes and the published weights."""

from pathlib import Path

import pytest

from edge_runtime.bundles.build.recipe_file import read_recipe
from tests.support.paths import DEMO, ROOT


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
