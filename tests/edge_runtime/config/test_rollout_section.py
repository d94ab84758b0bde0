"""The section ``models.NAME.rollout``."""

import pytest
import yaml

from edge_runtime.config import Effect, RolloutConfig, changes, parse_config
from edge_runtime.errors import ConfigError


def parse(rollout: object = None):
    content = {
        "device": "b",
        "models": {"m": {"bundle": "x", "rollout": rollout}, "n": {"bundle": "y"}},
        "cameras": {
            "one": {"path": "demo:conveyor", "model": "m"},
            "two": {"path": "demo:conveyor", "model": "m"},
            "other": {"path": "demo:conveyor", "model": "n"},
        },
    }
    return parse_config(yaml.safe_dump(content), "box.yaml", {})


def rollout_of(section: object) -> RolloutConfig:
    rollout = parse(section).models["m"].rollout
    assert rollout is not None
    return rollout


def test_without_it_there_is_no_rollout():
    assert parse().models["m"].rollout is None


def test_an_empty_section_is_one_with_the_defaults():
    rollout = rollout_of({})
    assert (rollout.shadow.frames, rollout.canary.share, rollout.promote) == (200, 0.1, "auto")
    assert (rollout.limits.agreement, rollout.limits.failures_in_a_row, rollout.dry_run) == (0.8, 3, ())


def test_what_is_written_counts():
    written = {
        "shadow": {"frames": 0},
        "canary": {"streams": ["one"]},
        "promote": "ask",
        "dry_run": ["latency", "answers"],
    }
    rollout = rollout_of(written)
    assert (rollout.shadow.frames, rollout.canary.streams) == (0, ("one",))
    assert (rollout.promote, rollout.dry_run) == ("ask", ("latency", "answers"))


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ({"canary": {"share": 0}}, "canary.share"),
        ({"canary": {"share": 1}}, "canary.share"),
        ({"shadow": {"frames": -1}}, "shadow.frames"),
        ({"shadow": {"cpu": 0}}, "shadow.cpu"),
        ({"watch_s": 0}, "watch_s"),
        ({"promote": "later"}, "promote"),
        ({"promote_at": "0 3 * * *"}, "promote"),
        ({"promote": "ask", "promote_at": "at night"}, "promote_at"),
        ({"dry_run": ["speed"]}, "dry_run.0"),
        ({"limits": {"agreement": 80}}, "limits.agreement"),
        ({"limits": {"failures_in_a_row": 0}}, "limits.failures_in_a_row"),
        ({"limits": {"latency_ratio": 0.5}}, "limits.latency_ratio"),
        ({"canary": {"streams": ["tow"]}}, "canary.streams.0"),
        ({"canary": {"streams": ["one", "other"]}}, "canary.streams.1"),
        ({"canary": {"streams": ["one", "two"]}}, "canary.streams"),
    ],
)
def test_what_cannot_be_is_one_problem_at_its_key(section, where):
    with pytest.raises(ConfigError) as caught:
        parse(section)
    (problem,) = caught.value.problems
    assert problem.where == f"models.m.rollout.{where}"
    assert problem.line is not None


def test_an_edit_of_its_keys_takes_effect_at_once():
    assert dict(changes(parse({}), parse({"watch_s": 9}))) == {"models.m.rollout.watch_s": Effect.LIVE}


@pytest.mark.parametrize(("before", "after"), [(None, {}), ({}, None)])
def test_turning_it_on_or_off_opens_the_model_again(before, after):
    assert dict(changes(parse(before), parse(after))) == {"models.m.rollout": Effect.REBUILD_MODEL}
