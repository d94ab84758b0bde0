"""Which versions stay: the policy, the budget, and what is in use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.config import BundlesConfig
from edge_runtime.deployment.store.keep import MIB, Held, Keep, choose_removals


def held(*ids, size=10):
    """Installed one after the other."""
    found = []
    for number, one in enumerate(ids):
        name, version = one.split("/")
        found.append(Held(name, int(version), size, float(number)))
    return found


def removed(versions, keep, spared=()):
    return [one.id for one in choose_removals(versions, keep, spared).removed]


def test_all_keeps_all():
    assert removed(held("a/1", "a/2", "b/1"), Keep()) == []


def test_latest_keeps_the_highest_numbers_of_each_name_not_the_last_to_come():
    versions = held("a/3", "a/1", "a/2", "b/1")
    assert removed(versions, Keep(latest=1)) == ["a/1", "a/2"]
    assert removed(versions, Keep(latest=2)) == ["a/1"]
    assert removed(versions, Keep(latest=9)) == []


def test_specific_keeps_those_numbers():
    assert removed(held("a/1", "a/2", "b/3"), Keep(specific=frozenset({2}))) == ["a/1", "b/3"]


def test_what_is_in_use_is_spared_by_policy_and_budget():
    versions = held("a/1", "a/2", "a/3")
    assert removed(versions, Keep(latest=1), {"a/1"}) == ["a/2"]
    assert removed(versions, Keep(max_bytes=10), {"a/1"}) == ["a/2"]


def test_for_the_budget_the_oldest_go_first_and_the_newest_of_a_name_never():
    versions = held("a/1", "b/1", "a/2", "b/2", "a/3")
    assert removed(versions, Keep(max_bytes=45)) == ["a/1"]
    assert removed(versions, Keep(max_bytes=30)) == ["a/1", "b/1"]
    choice = choose_removals(versions, Keep(max_bytes=5), ())
    assert [one.id for one in choice.removed] == ["a/1", "b/1", "a/2"]
    assert (choice.kept_bytes, choice.over_bytes) == (20, 15)


def test_the_policy_goes_before_the_budget():
    assert removed(held("a/9", "a/1", "a/10"), Keep(latest=2, max_bytes=20)) == ["a/1"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("all", Keep(max_bytes=3 * MIB)),
        ({"latest": {"num_versions": 2}}, Keep(latest=2, max_bytes=3 * MIB)),
        ({"specific": {"versions": [4, 2]}}, Keep(specific=frozenset({2, 4}), max_bytes=3 * MIB)),
    ],
)
def test_the_configuration_says_it_in_triton_s_words(policy, expected):
    assert (
        Keep.from_config(BundlesConfig.model_validate({"version_policy": policy, "max_mib": 3})) == expected
    )


VERSIONS = st.lists(
    st.builds(Held, st.sampled_from("ab"), st.integers(1, 6), st.integers(0, 9), st.floats(0, 9)),
    unique_by=lambda one: one.id,
)
KEEPS = st.builds(
    Keep,
    st.none() | st.integers(1, 4),
    st.none() | st.frozensets(st.integers(1, 6)),
    st.none() | st.integers(0, 30),
)


@given(VERSIONS, KEEPS, st.sets(st.sampled_from([f"{name}/{n}" for name in "ab" for n in range(1, 7)])))
def test_nothing_in_use_ever_goes_and_the_sums_are_right(versions, keep, spared):
    choice = choose_removals(versions, keep, spared)
    gone = {one.id for one in choice.removed}
    assert not gone & spared
    assert len(gone) == len(choice.removed)
    assert choice.kept_bytes == sum(one.size_bytes for one in versions if one.id not in gone)
    rest = [one for one in versions if one.id not in gone]
    if keep.max_bytes is None or choice.kept_bytes <= keep.max_bytes:
        assert choice.over_bytes == 0
    else:
        newest = {max((one for one in rest if one.name == name), key=lambda one: one.version).id for name in
                  {one.name for one in rest}}  # fmt: skip
        assert {one.id for one in rest} <= spared | newest
    again = choose_removals(rest, keep, spared)
    assert again.removed == ()
