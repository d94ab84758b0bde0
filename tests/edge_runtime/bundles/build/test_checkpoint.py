"""Checkpoints in the forms that training code writes."""

from collections import OrderedDict
from typing import Any

import pytest

from edge_runtime.bundles.build.checkpoint import find_parts, find_prefix, match_names, read_version

NET = {"conv.weight": 1, "conv.bias": 2, "head.fc.weight": 3}


@pytest.mark.parametrize(
    "data",
    [
        {"state_dict": NET, "preprocessing": "p", "version": 3},
        {"model_state_dict": NET, "preprocess_params": "p", "version": 3},
        {
            "model_state_dict": NET,
            "preprocess": "p",
            "version": 3,
            "epoch": 7,
            "optimizer_state_dict": {"lr": 0.1},
        },
        {"model": NET, "preprocessing": "p", "version": 3, "ema": {"x": "y"}},
        {"net": NET, "preprocess_params": "p", "version": 3},
        {"state_dict": NET, "model": {"other": 1}, "preprocessing": "p", "version": 3},
        {"model": {"depth": "50"}, "state_dict": NET, "preprocessing": "p", "version": 3},
        {"state_dict": OrderedDict(NET), "preprocessing": "p", "version": 3},
        {"state_dict": NET, "preprocessing": None, "preprocess_params": "p", "version": 3},
        {"version": 3, "preprocessing": "p", "state_dict": {**NET}},
    ],
)
def test_weights_are_found_under_their_usual_keys(data: dict[str, Any]) -> None:
    found = find_parts(data, int)
    assert found is not None
    assert (dict(found.weights), found.preprocessing, found.version) == (NET, "p", 3)


def test_a_bare_state_dict_is_all_weights() -> None:
    found = find_parts(OrderedDict(NET), int)
    assert found is not None
    assert (dict(found.weights), found.preprocessing, found.version) == (NET, None, None)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "text",
        {},
        {"a": "b"},
        {"epoch": 3, "lr": 0.1},
        {"model": {"depth": "x"}},
        {**NET, "x": None},
    ],
)
def test_what_has_no_weights_is_none(data: Any) -> None:
    assert find_parts(data, int) is None


PREFIXES = {
    "DistributedDataParallel": "module.", "torch.compile": "_orig_mod.", "Lightning": "model.",
    "Lightning's net": "net.", "both wrappers": "module._orig_mod.", "the other way round": "_orig_mod.module.",
    "Lightning over both": "model.module._orig_mod.", "any name": "student.backbone.", "none": "",
}  # fmt: skip


@pytest.mark.parametrize("name", PREFIXES)
def test_a_prefix_of_all_names_goes_when_they_all_fit_then(name: str) -> None:
    assert match_names({PREFIXES[name] + key: one for key, one in NET.items()}, set(NET)) == NET


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"n_averaged": 9, **{f"module.{key}": one for key, one in NET.items()}}, NET),  # AveragedModel
        ({"conv._orig_mod.weight": 1, "conv._orig_mod.bias": 2, "head.fc.weight": 3}, NET),  # one part compiled
        ({"conv.module.weight": 1, "conv.module.bias": 2, "head.fc.weight": 3}, NET),
        ({"module.conv.weight": 1}, {"module.conv.weight": 1}),  # too few: as they are
        ({"model.conv.weight": 1, "loss.weight": 5}, {"model.conv.weight": 1, "loss.weight": 5}),
        ({"conv.weight": 1, "module.conv.weight": 2}, {"conv.weight": 1, "module.conv.weight": 2}),
        ({}, {}),
    ],
)  # fmt: skip
def test_only_what_fits_as_a_whole_is_renamed(given: dict[str, int], expected: dict[str, int]) -> None:
    assert match_names(given, set(NET)) == expected


def test_a_net_whose_own_names_have_the_prefix_is_left_alone() -> None:
    own = {f"module.{key}": one for key, one in NET.items()}
    assert match_names(own, set(own)) == own


def test_the_prefix_is_named_where_other_weights_are_beside() -> None:
    assert (
        find_prefix({**{f"model.{key}": one for key, one in NET.items()}, "loss.weight": 5}, set(NET))
        == "model."
    )
    assert find_prefix({"a.x": 1, "b.y": 2}, set(NET)) is None


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (3, 3), ("3", 3), ("1.0.2", 1_000_002), ("1.0", 1_000_000), ("v2.11.3", 2_011_003), ("0.0.1", 1), (" 7 ", 7),
        ("999.999.999", 999_999_999), ("0", None), (0, None), (-1, None), ("1.0.2-rc1", None), ("1000.0.0", None),
        ("", None), ("0.0.0", None), ("9999999999", None), (1.5, 1_005_000), (True, None), (None, None), ("٣", None),
    ],
)  # fmt: skip
def test_a_version_becomes_a_number_that_grows_with_it(version: Any, expected: int | None) -> None:
    assert read_version(version) == expected


def test_later_versions_are_higher() -> None:
    texts = ["0.9", "0.9.1", "0.10.0", "1.0.0", "1.0.2", "1.0.10", "1.2", "2.0", "10.0.0"]
    numbers = [read_version(text) or 0 for text in texts]
    assert numbers == sorted(set(numbers))
