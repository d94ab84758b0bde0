"""What the self-test accepts is measured, refuses only what matters, and leaves its author a way out."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edge_runtime.bundles.build.tolerance import measure_tolerance
from edge_runtime.bundles.compare import choose_comparison
from edge_runtime.bundles.self_test import self_test
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.errors import BundleError, ConfigError
from edge_runtime.inference.engines.base import TensorSpec
from edge_runtime.inference.engines.onnx_engine import OnnxEngine
from edge_runtime.inference.specs import ClassificationSpec, DetectionSpec, PictureSpec
from tests.support.bundle_builds import GOLDEN, PREPROCESS
from tests.support.bundle_models import SIDE, colourful, png, small_model
from tests.support.recipe_author import Author

pytestmark = pytest.mark.integration


class Meaning:
    preprocess: PictureSpec = PREPROCESS

    def __init__(self, postprocess: Any = None) -> None:
        self.postprocess = postprocess or ClassificationSpec(scores="logits")


DETECTOR = DetectionSpec(
    packing="rows", boxes="out", box_format="xyxy", is_normalised=False, nms_iou=None, score_threshold=0.4
)


def in_front(*nodes: Any, weights: dict[str, Any]) -> bytes:
    """The small model behind nodes that turn ``image`` into ``inner``."""
    model = onnx.load_model_from_string(small_model())
    model.graph.node[0].input[0] = "inner"
    for at, node in enumerate(nodes):
        model.graph.node.insert(at, node)
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()
    )
    return bytes(model.SerializeToString())


def averaging() -> bytes:
    weight = np.full((3, 3, 1, 1), 1 / 3, np.float32)
    return in_front(helper.make_node("Conv", ["image", "grey"], ["inner"]), weights={"grey": weight})


def standardising() -> bytes:
    axes = {"axes": [1, 2, 3], "keepdims": 1}
    return in_front(
        helper.make_node("ReduceMean", ["image"], ["i_m"], **axes), helper.make_node("Sub", ["image", "i_m"], ["i_c"]),
        helper.make_node("Mul", ["i_c", "i_c"], ["i_2"]), helper.make_node("ReduceMean", ["i_2"], ["i_v"], **axes),
        helper.make_node("Sqrt", ["i_v"], ["i_s"]), helper.make_node("Div", ["i_c", "i_s"], ["inner"]), weights={},
    )  # fmt: skip


@pytest.mark.parametrize("model", [averaging(), standardising()], ids=["averages colours", "standardises"])
def test_mistakes_that_make_no_difference_to_a_model_need_not_show(model: bytes) -> None:
    tolerance, compare = measure_tolerance(Meaning(), None, GOLDEN, OnnxEngine(model))
    assert compare == "outputs"
    assert 0.02 <= tolerance <= 0.25


def test_grey_pictures_still_hide_swapped_colours_of_a_model_that_sees_them() -> None:
    grey = {name: png(np.repeat(colourful(i)[..., :1], 3, axis=2)) for i, name in enumerate(GOLDEN)}
    with pytest.raises(BundleError, match=r"tolerance: 0\.02"):
        measure_tolerance(Meaning(), None, grey, OnnxEngine(small_model()))


class Unsure:
    """Answers by the lowest bits of the pixels."""

    input = TensorSpec("image", "float", (None, 3, SIDE, SIDE))

    def infer(self, batch: Any) -> dict[str, Any]:
        seeds = [zlib.crc32(one.tobytes()) for one in batch]
        return {"y": np.stack([np.random.default_rng(seed).normal(0, 1, 4) for seed in seeds])}


def test_an_unsure_model_is_told_so_and_what_would_let_it_pass() -> None:
    with pytest.raises(BundleError, match=r"tolerance: \d"):
        measure_tolerance(Meaning(), None, GOLDEN, Unsure())  # type: ignore[arg-type]
    assert measure_tolerance(Meaning(), 0.7, GOLDEN, Unsure())[0] == 0.7  # type: ignore[arg-type]


def test_a_recipe_may_say_the_tolerance(tmp_path: Path) -> None:
    author = Author(tmp_path)
    author.model("onnx")
    bundle = load_bundle(author.build(tolerance=0.33).path)
    assert bundle.manifest.tolerance == 0.33
    for wrong in (0, 1.5):
        with pytest.raises(ConfigError, match="tolerance"):
            author.build(tolerance=wrong, version=2)


def test_a_single_number_is_compared_by_how_it_differs_between_pictures() -> None:
    golden = [{"y": np.array([value])} for value in (2.0, 4.0)]
    compare = choose_comparison("outputs", Meaning(), golden)
    assert compare({"y": np.array([2.1])}, golden[0]) == pytest.approx(0.1)
    alone = choose_comparison("outputs", Meaning(), golden[:1])
    assert alone({"y": np.array([2.1])}, golden[0]) == pytest.approx(0.05)


def rows(*scores: float) -> dict[str, Any]:
    table = [[10.0 * i, 2.0, 10.0 * i + 9, 12.0, score] for i, score in enumerate(scores)]
    return {"out": np.array(sorted(table, key=lambda row: -row[4]))}


def test_boxes_that_change_places_are_the_same_detections() -> None:
    golden = [rows(0.9, 0.8, 0.0)]
    by_rows, by_boxes = (
        choose_comparison(way, Meaning(DETECTOR), golden) for way in ("outputs", "detections")
    )
    swapped = rows(0.8, 0.81, 0.0)
    assert by_rows(swapped, golden[0]) > 0.5
    assert by_boxes(swapped, golden[0]) < 0.05
    assert by_boxes(rows(0.0, 0.0, 0.9), golden[0]) == 1


class Sorting:
    """A detector that gives three boxes of nearly the same score, best first; blue pictures have none."""

    input = TensorSpec("image", "float", (None, 3, SIDE, SIDE))

    def infer(self, batch: Any) -> dict[str, Any]:
        return {"out": np.stack([self._rows(one) for one in batch])}

    def _rows(self, one: Any) -> Any:
        noise = np.random.default_rng(zlib.crc32(one.tobytes())).uniform(0, 1e-3, 3)
        is_right = abs(one.mean()) < 1 and one.std() > 0.5 and one[0].mean() > one[2].mean()
        return rows(*(0.9 + noise if is_right else noise))["out"]


def test_a_detector_that_sorts_its_boxes_is_compared_by_its_detections() -> None:
    _, compare = measure_tolerance(Meaning(DETECTOR), None, GOLDEN, Sorting())  # type: ignore[arg-type]
    assert compare == "detections"
    with pytest.raises(BundleError, match="tolerance"):
        measure_tolerance(Meaning(), None, GOLDEN, Sorting())  # type: ignore[arg-type]


def test_the_manifest_says_how_detections_are_compared(tmp_path: Path) -> None:
    author = Author(tmp_path)
    author.model("onnx")
    bundle = load_bundle(author.build().path)
    assert bundle.manifest.compare == "outputs"
    assert "compare" not in (bundle.path / "bundle.yaml").read_text()
    assert self_test(bundle, OnnxEngine(bundle.model_files.data)).worst == 0
