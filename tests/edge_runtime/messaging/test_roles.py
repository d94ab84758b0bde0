"""The role that each verb needs is the one that the page names."""

import re

import pytest

from edge_runtime.messaging.commands.request import ARGUMENTS
from edge_runtime.messaging.commands.roles import Role, find_least_role
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.+?) \| (viewer|operator|owner) \|", PAGE, re.MULTILINE)


def test_a_picture_is_an_operators():
    assert find_least_role("snapshot") is Role.OPERATOR


@pytest.mark.parametrize("verb", sorted(ARGUMENTS.keys() - {"bless", "rollout"}))  # an old name; two rows
def test_the_page_names_the_role(verb):
    (role,) = {role for names, role in ROWS if f"`{verb}`" in names}
    assert find_least_role(verb) is Role.of(role)
