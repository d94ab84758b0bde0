"""The section ``recalibration.reference``."""

import jsonschema
import pytest
import yaml

from edge_runtime.config import parse_config
from edge_runtime.config.json_schema import config_schema
from edge_runtime.errors import ConfigError


def content(sets):
    return {
        "device": "b",
        "models": {"m": {"bundle": "x"}},
        "cameras": {"one": {"path": "demo:conveyor", "model": "m"}},
        "recalibration": {"reference": {"sets": sets}},
    }


def parse(sets, tmp_path):
    return parse_config(yaml.safe_dump(content(sets)), "box.yaml", {}, base=tmp_path)


def test_folders_of_sets_count_from_the_folder_of_the_file(tmp_path):
    config = parse({"night": "night", "fog": "/srv/fog"}, tmp_path)
    sets = config.recalibration.reference.sets
    assert {name: str(path) for name, path in sets.items()} == {
        "night": str(tmp_path / "night"),
        "fog": "/srv/fog",
    }


@pytest.mark.parametrize("name", ["live", "folder", "Night", "", "a" * 33, "night shift"])
def test_a_name_that_cannot_be_one_is_refused_with_its_key(tmp_path, name):
    with pytest.raises(ConfigError) as caught:
        parse({name: "night"}, tmp_path)
    [problem] = caught.value.problems
    assert problem.where == f"recalibration.reference.sets.{name}"


def test_names_that_begin_like_a_taken_one_are_free(tmp_path):
    sets = {"live-2": "a", "folders": "b"}
    assert parse(sets, tmp_path).recalibration.reference.sets.keys() == sets.keys()
    jsonschema.validate(content(sets), config_schema())
