"""Who may have something, by tokens."""

import pytest
import structlog

from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import LOCAL, MOST_SHOWN, Access, require_role
from edge_runtime.serving.refusals import Refusal
from tests.support.http_tokens import HOLDERS, TOKENS, bearer

VIEWER, OPERATOR = (bearer(role)["Authorization"] for role in (Role.VIEWER, Role.OPERATOR))


def code_of(access: Access, authorization: str, needed: Role = Role.OPERATOR) -> int | None:
    try:
        require_role(access.identify([authorization] if authorization else [], ""), needed)
    except Refusal as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("authorization", "code"),
    [("", 401), ("Bearer wrong", 401), (VIEWER, 403), (OPERATOR, None), (f"{OPERATOR}\n", 401)],
)
def test_a_token_of_the_role_is_needed(authorization: str, code: int | None) -> None:
    assert code_of(Access(lambda: HOLDERS, needs_token=True), authorization) == code


def test_what_a_program_names_as_its_address_does_not_fill_the_log() -> None:
    access = Access(lambda: HOLDERS, needs_token=True)
    with structlog.testing.capture_logs() as lines, pytest.raises(Refusal):
        access.identify(["Bearer wrong"], "9" * 60_000)
    assert [one["client"] for one in lines] == ["9" * MOST_SHOWN]


def test_a_viewer_may_what_viewers_may() -> None:
    assert code_of(Access(lambda: HOLDERS, needs_token=True), VIEWER, Role.VIEWER) is None


def test_of_several_callers_with_the_same_token_the_greatest_role_counts() -> None:
    holders = [type(one)(one.name, one.role, HOLDERS[0].digest) for one in HOLDERS]
    caller = Access(lambda: holders, needs_token=True).identify([VIEWER], "")
    assert caller.name == "the-owner"


def test_without_tokens_this_machine_may_what_an_operator_may() -> None:
    assert Access().identify([], "") is LOCAL
    assert code_of(Access(), "", Role.OWNER) == 403


def test_without_any_caller_in_the_configuration_other_machines_may_not() -> None:
    assert code_of(Access(needs_token=True, has_callers=False), OPERATOR) == 403


def test_a_holder_shows_no_token() -> None:
    assert all(token not in repr(HOLDERS) for token in TOKENS.values())
    assert repr(HOLDERS[0].digest) not in repr(HOLDERS)
