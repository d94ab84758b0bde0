"""What a recipe's author reads when a key is missing or does not go with another."""

from pathlib import Path

import pytest

from edge_runtime.bundles.build.recipe_file import read_recipe
from edge_runtime.errors import ConfigError, Problem

PREPROCESS = (
    "{colour: rgb, width: 32, height: 32, geometry: crop, filter: area, mean: [0, 0, 0], std: [1, 1, 1]}"
)
BOXES = "task: detection, boxes: b, box_format: xyxy, is_normalised: true"
PACKINGS = ("'separate'", "'rows'", "'columns'", "'end2end'", "'detection_output'")


def problems(folder: Path, *, postprocess: str, preprocess: str = PREPROCESS) -> dict[str, Problem]:
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: a\nmodel: a.onnx\ngolden: g\npreprocess: {preprocess}\npostprocess: {postprocess}\n"
    )
    with pytest.raises(ConfigError) as refused:
        read_recipe(path, {})
    return {problem.where: problem for problem in refused.value.problems}


@pytest.mark.parametrize(
    ("written", "where", "found", "choices"),
    [
        ("{task: detection, boxes: b}", "box_format", "missing", ("'xyxy'", "'yxyx'", "'xywh'", "'cxcywh'")),
        ("{task: detection, boxes: b}", "is_normalised", "missing", ("true", "false")),
        ("{task: classification}", "scores", "missing", ("'logits'", "'sigmoid_logits'", "'probabilities'")),
        ("{}", "task", "missing", ("'classification'", "'detection'", "'raw'")),
        ("{boxes: b}", "task", "missing", ("'classification'", "'detection'", "'raw'")),
        ("{task: boxes}", "task", "'boxes'", ("'classification'", "'detection'", "'raw'")),
        ("{task: 3}", "task", "'3'", ("'classification'", "'detection'", "'raw'")),
        (f"{{{BOXES}, packing: row}}", "packing", "'row'", PACKINGS),
        (
            f"{{{BOXES}, packing: rows, activation: relu}}",
            "activation",
            "'relu'",
            ("'none'", "'sigmoid'", "'softmax'"),
        ),
        ("{task: classification, scores: softmax}", "scores", "'softmax'", ("'logits'", "'probabilities'")),
    ],
)
def test_a_key_of_few_values_comes_with_them(
    tmp_path: Path, written: str, where: str, found: str, choices: tuple[str, ...]
) -> None:
    problem = problems(tmp_path, postprocess=written)[f"postprocess.{where}"]
    assert problem.found == found
    assert all(choice in problem.expected for choice in choices)


@pytest.mark.parametrize("key", ["colour", "geometry", "filter"])
def test_so_do_those_of_preprocess(tmp_path: Path, key: str) -> None:
    some = {"colour": "'bgr'", "geometry": "'letterbox'", "filter": "'nearest'"}
    without = ", ".join(part for part in PREPROCESS[1:-1].split(", ") if not part.startswith(key))
    problem = problems(tmp_path, postprocess="{task: raw}", preprocess=f"{{{without}}}")[f"preprocess.{key}"]
    assert problem.found == "missing"
    assert some[key] in problem.expected


@pytest.mark.parametrize(
    ("written", "word"),
    [
        (f"{{{BOXES}}}", "columns"),
        (f"{{{BOXES}, packing: rows, scores: s}}", "rows"),
        (f"{{{BOXES}, packing: end2end, has_objectness: true}}", "has_objectness"),
        (f"{{{BOXES}, packing: columns, count: n}}", "count"),
    ],
)
def test_what_does_not_go_together_is_said_of_the_section(tmp_path: Path, written: str, word: str) -> None:
    problem = problems(tmp_path, postprocess=written)["postprocess"]
    assert word in problem.found
    assert "null" not in str(problem)
    assert problem.line == 5
