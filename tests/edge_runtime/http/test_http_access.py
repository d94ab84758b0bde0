"""Who asks over HTTP, and what a page from elsewhere may not."""

import pytest
from starlette.requests import Request

from edge_runtime.http.http_access import HttpAccess, require
from edge_runtime.http.sessions import LASTS_S
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import LOCAL, Access, Caller
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.token_holder import TokenHolder
from edge_runtime.serving.wrong_tokens import BURST, EACH_S, WrongTokens
from tests.support.http_tokens import HOLDERS, TOKENS, make_access

TOKEN = TOKENS[Role.OPERATOR]
OWN = {"origin": "http://127.0.0.1:8080"}


def make_request(method: str = "GET", client: str = "10.0.0.9", **headers: str) -> Request:
    given = {"host": "127.0.0.1:8080", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()]
    return Request(
        {
            "type": "http", "method": method, "scheme": "http", "path": "/", "query_string": b"", "headers": raw,
            "server": ("127.0.0.1", 8080), "client": (client, 4711),
        }
    )  # fmt: skip


def code_of(access: HttpAccess, *args: str, **headers: str) -> int | None:
    try:
        access.identify(make_request(*args, **headers))
    except Refusal as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        (OWN, None),
        ({"origin": "HTTP://127.0.0.1:8080", "sec_fetch_site": "same-origin"}, None),
        ({"sec_fetch_site": "none"}, None),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://127.0.0.1:9090"}, 403),
        ({"origin": "https://127.0.0.1:8080"}, 403),
        ({"origin": "http://127.0.0.1:8080", "sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_from_elsewhere_may_not_and_a_program_may(
    headers: dict[str, str], code: int | None, method: str
) -> None:
    assert code_of(HttpAccess(Access()), method, **headers) == code


def test_a_person_may_follow_a_link_of_a_page_from_elsewhere_which_may_post_nothing() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert code_of(HttpAccess(Access()), "GET", **link) is None
    assert code_of(HttpAccess(Access()), "POST", **link) == 403


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN}, Bearer {TOKEN}", 401),
        ("Bearer \xff", 401),
        (f"Bearer {TOKEN}", None),
        (f"bearer  {TOKEN} ", None),
    ],
)
def test_with_tokens_one_is_needed(authorization: str | None, code: int | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert code_of(HttpAccess(make_access()), **headers) == code


def test_two_tokens_are_none() -> None:
    request = make_request(authorization=f"Bearer {TOKEN}")
    request.scope["headers"].append((b"authorization", f"Bearer {TOKEN}".encode()))
    with pytest.raises(Refusal):
        HttpAccess(make_access()).identify(request)


@pytest.mark.parametrize("role", Role)
def test_a_caller_has_the_role_of_its_token(role: Role) -> None:
    caller = HttpAccess(make_access()).identify(make_request(authorization=f"Bearer {TOKENS[role]}"))
    assert (caller.name, caller.role) == (f"the-{role}", role)


@pytest.mark.parametrize(
    ("caller", "needed", "may"),
    [
        (LOCAL, Role.OPERATOR, True),
        (LOCAL, Role.OWNER, False),
        (None, Role.VIEWER, False),
        (Caller("wall", Role.VIEWER), Role.VIEWER, True),
        (Caller("wall", Role.VIEWER), Role.OPERATOR, False),
    ],
)
def test_less_than_the_needed_role_is_refused(caller: Caller | None, needed: Role, may: bool) -> None:
    request = make_request()
    request.state.caller = caller
    if may:
        assert require(request, needed) is caller
        return
    with pytest.raises(Refusal) as refused:
        require(request, needed)
    assert refused.value.code == 403


def test_without_any_caller_in_the_configuration_other_machines_may_not() -> None:
    access = HttpAccess(Access(needs_token=True, has_callers=False))
    assert code_of(access, authorization=f"Bearer {TOKEN}") == 403


def test_a_right_token_does_not_help_a_page_from_elsewhere() -> None:
    assert (
        code_of(HttpAccess(make_access()), authorization=f"Bearer {TOKEN}", origin="http://evil.example")
        == 403
    )


def test_a_token_in_an_address_is_none() -> None:
    request = make_request()
    request.scope["query_string"] = f"token={TOKEN}&access_token={TOKEN}".encode()
    with pytest.raises(Refusal) as refused:
        HttpAccess(make_access()).identify(request)
    assert refused.value.code == 401


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_who_guesses_is_limited_and_others_are_not() -> None:
    clock, wrong = Clock(), WrongTokens()
    access = HttpAccess(make_access(wrong_tokens=wrong, clock=clock))
    codes = [code_of(access, authorization="Bearer wrong") for _ in range(3000)]
    assert codes == [401] * BURST + [429] * (3000 - BURST)
    assert wrong.count == BURST
    assert code_of(access, authorization=f"Bearer {TOKEN}") == 429  # or a right guess would show
    assert code_of(access, "GET", "10.0.0.8", authorization=f"Bearer {TOKEN}") is None
    clock.now_s += EACH_S
    assert code_of(access, authorization=f"Bearer {TOKEN}") is None


def test_who_guesses_at_a_machine_with_a_session_does_not_end_it() -> None:
    access = HttpAccess(make_access(clock=Clock()))
    cookie = access.open_session(HOLDERS[0])
    for _ in range(BURST):
        code_of(access, authorization="Bearer wrong")
    assert code_of(access, cookie=f"edge-runtime-8080={cookie}") is None


def test_a_cookie_reads_and_changes_only_with_a_sign_of_an_own_page() -> None:
    access = HttpAccess(make_access(clock=Clock()))
    cookie = {"cookie": f"edge-runtime-8080={access.open_session(HOLDERS[2])}"}
    assert code_of(access, **cookie) is None
    assert code_of(access, "POST", **cookie) == 403
    assert code_of(access, "POST", **cookie, **OWN) is None
    assert code_of(access, "POST", **cookie, sec_fetch_site="same-origin") is None
    assert code_of(access, "POST", **cookie, sec_fetch_site="none") == 403
    assert code_of(access, "GET", **cookie, origin="http://evil.example") == 403


def test_a_cookie_ends_with_its_time_its_token_and_the_way_out() -> None:
    clock, holders = Clock(), list(HOLDERS)
    access = HttpAccess(Access(lambda: holders, needs_token=True, clock=clock))
    first, second, third = (access.open_session(holder) for holder in HOLDERS)
    access.close_session(make_request(cookie=f"edge-runtime-8080={first}"))
    holders[1] = TokenHolder(HOLDERS[1].name, HOLDERS[1].role, b"another")
    codes = [code_of(access, cookie=f"edge-runtime-8080={cookie}") for cookie in (first, second, third)]
    assert codes == [401, 401, None]
    clock.now_s += LASTS_S
    assert code_of(access, cookie=f"edge-runtime-8080={third}") == 401
