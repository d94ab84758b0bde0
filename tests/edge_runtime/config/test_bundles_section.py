"""The section ``bundles``: which versions are kept, in Triton's words."""

import pytest
import yaml

from edge_runtime.config import BundlesConfig, changes, parse_config
from edge_runtime.errors import ConfigError


def parse(**bundles):
    content = {
        "device": "b",
        "models": {"m": {"bundle": "x"}},
        "cameras": {"c": {"path": "demo:conveyor", "model": "m"}},
        **({"bundles": bundles} if bundles else {}),
    }
    return parse_config(yaml.safe_dump(content), "box.yaml", {})


def test_without_it_all_versions_are_kept():
    assert parse().bundles == BundlesConfig(version_policy="all", max_mib=None, allow_downgrade=False)


def test_the_words_of_a_policy():
    assert parse(version_policy="all").bundles.version_policy == "all"
    latest = parse(version_policy={"latest": {"num_versions": 3}}).bundles.version_policy
    assert latest.latest.num_versions == 3
    specific = parse(version_policy={"specific": {"versions": [3, 1]}}).bundles.version_policy
    assert specific.specific.versions == (3, 1)


@pytest.mark.parametrize(
    "policy",
    ["newest", 3, [], {}, {"latest": {}, "specific": {"versions": [1]}}, {"specific": {"versions": []}},
     {"specific": {"versions": [0]}}, {"latest": {"num_versions": 0}}, {"newest": 1}, None],
)  # fmt: skip
def test_another_policy_is_one_problem_at_its_key(policy):
    with pytest.raises(ConfigError) as caught:
        parse(version_policy=policy)
    (problem,) = caught.value.problems
    assert problem.where.startswith("bundles.version_policy")
    assert problem.line is not None


def test_an_edit_of_it_needs_no_restart():
    assert changes(parse(), parse(max_mib=9)).needs_restart == ()
