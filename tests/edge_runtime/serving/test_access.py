"""Who may have work done over HTTP."""

import pytest
from starlette.datastructures import Headers

from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import Access, TokenHolder, hash_token
from edge_runtime.serving.refusals import Refusal

TOKEN, READER = "sMh0m7jC3yZ1VqK8xQ2t", "k1k2k3k4k5k6k7k8k9k0"
HOLDERS = (
    TokenHolder("scanner", Role.OPERATOR, hash_token(TOKEN)),
    TokenHolder("wall", Role.VIEWER, hash_token(READER)),
)


def code_of(access: Access, needed: Role = Role.OPERATOR, **headers: str) -> int | None:
    given = {name.replace("_", "-"): value for name, value in {"host": "127.0.0.1:8080", **headers}.items()}
    try:
        access.check(Headers(given), "http", needed)
    except Refusal as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        ({"origin": "http://127.0.0.1:8080"}, None),
        ({"origin": "HTTP://127.0.0.1:8080", "sec_fetch_site": "same-origin"}, None),
        ({"sec_fetch_site": "none"}, None),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "http://127.0.0.1:9090"}, 403),
        ({"origin": "https://127.0.0.1:8080"}, 403),
        ({"origin": "http://127.0.0.1:8080", "sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
    ],
)
def test_a_page_from_elsewhere_may_not_and_a_program_may(headers: dict[str, str], code: int | None) -> None:
    assert code_of(Access(), **headers) == code


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
        ("Bearer \xff", 401),
        (f"Bearer {READER}", 403),
        (f"Bearer {TOKEN}", None),
        (f"bearer  {TOKEN} ", None),
    ],
)
def test_with_tokens_one_of_the_role_is_needed(authorization: str | None, code: int | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert code_of(Access(HOLDERS, needs_token=True), **headers) == code


def test_a_viewer_may_what_viewers_may() -> None:
    access = Access(HOLDERS, needs_token=True)
    assert code_of(access, Role.VIEWER, authorization=f"Bearer {READER}") is None


def test_without_any_token_nobody_else_may() -> None:
    assert code_of(Access(needs_token=True), authorization=f"Bearer {TOKEN}") == 403


def test_a_right_token_does_not_open_the_door_for_a_page_from_elsewhere() -> None:
    access = Access(HOLDERS, needs_token=True)
    assert code_of(access, authorization=f"Bearer {TOKEN}", origin="http://evil.example") == 403


def test_a_holder_shows_no_token() -> None:
    assert TOKEN not in repr(HOLDERS)
    assert repr(hash_token(TOKEN)) not in repr(HOLDERS)
