"""topics: values that cannot be wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from edge_runtime.errors import ConfigError
from edge_runtime.messaging.mqtt.topics import Topics, check_part, matches

TOPICS = Topics("edge", "belt-3")


def test_the_topics_of_the_design():
    assert TOPICS.availability == "edge/belt-3/availability"
    assert TOPICS.state == "edge/belt-3/state"
    assert TOPICS.result("belt") == "edge/belt-3/result/belt"
    assert TOPICS.event == "edge/belt-3/event"
    assert TOPICS.request("status") == "edge/belt-3/request/status"
    assert TOPICS.response("status") == "edge/belt-3/response/status"
    assert TOPICS.requests == "edge/belt-3/request/+"


@pytest.mark.parametrize(
    "name", ["", "a/b", "+", "a#", "$SYS", "a\0", "a\nb", "\ud800", "\ufdd0", "\uffff", "x" * 129, "ä" * 65]
)
def test_names_that_cannot_be_a_level_are_refused_with_their_place(name):
    with pytest.raises(ConfigError, match="device"):
        Topics("edge", name)
    with pytest.raises(ConfigError, match="stream"):
        TOPICS.result(name)


@pytest.mark.parametrize("prefix", ["", "/", "a/", "/a", "a//b", "$share/g", "a/+"])
def test_bad_prefixes_are_refused(prefix):
    with pytest.raises(ConfigError, match=r"mqtt\.prefix"):
        Topics(prefix, "d")


def test_a_prefix_may_have_levels():
    assert Topics("plant/edge", "d").state == "plant/edge/d/state"


@given(st.text())
def test_a_name_is_valid_utf8_of_one_level_or_refused(name):
    try:
        check_part(name, "x")
    except ConfigError:
        return
    assert name.encode()
    assert not set(name) & set("+#/\0")


@pytest.mark.parametrize(
    "topic", ["edge/belt-3/response/status", "edge/belt-3/response/x/y", "edge/belt-3/response/"]
)
def test_answers_go_below_the_own_response_topic(topic):
    assert TOPICS.allows_response_to(topic)


@pytest.mark.parametrize(
    ("topic", "is_allowed"),
    [
        ("app/42", True), ("app/42/x", True), ("app/421", False), ("app", False), ("App/42", False),
        ("edge/other/request/x", False), ("edge/belt-3/result/belt", False), ("edge/belt-3/request/status", False),
        ("edge/belt-3", False), ("edge/app/answers", True),
        ("$SYS/app/42", False), ("app/42/+", False), ("plant/request/rollback", True),
    ],
)  # fmt: skip
def test_further_prefixes_open_nothing_of_the_own_device(topic, is_allowed):
    assert TOPICS.allows_response_to(topic, ("app/42", "plant", "edge", "edge/other")) is is_allowed


@pytest.mark.parametrize(
    "topic",
    [
        *("", "$SYS/x", "a/+", "#", "a\0", "x" * 70_000),
        *("edge/belt-3/availability", "edge/belt-3/state"),
        *("edge/belt-3/request/rollback", "edge/other/request/rollback"),
        *(
            "edge/y/result/belt",
            "edge/y/availability",
            "edge/y/picture/cam",
            "edge/y/response/status",
            "edge",
        ),
        *(
            "zigbee2mqtt/bridge/request/restart",
            "home/door/lock/set",
            "other/x/request/rollback",
            "app/42/answers",
        ),
        *(
            "EDGE/belt-3/response/status",
            "edge/belt-3/response",
            "edge/belt-33/response/x",
            "/edge/belt-3/response/x",
        ),
    ],
)
def test_a_caller_cannot_make_the_device_speak_as_something_else(topic):
    assert not TOPICS.allows_response_to(topic)


level = st.sampled_from(["a", "b", "", "+", "#", "$x"])


@given(
    st.lists(level, min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "", "$x"]), min_size=1, max_size=4),
)
def test_matching_agrees_with_paho(wanted, levels):
    if "#" in wanted[:-1]:
        return
    assert matches("/".join(wanted), "/".join(levels)) == topic_matches_sub(
        "/".join(wanted), "/".join(levels)
    )
