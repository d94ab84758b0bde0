import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_runtime.system.redaction import redact_url

SECRET_NAMES = [
    "token", "mytoken", "api_key", "apikey", "key", "password", "PASSWORD", "passwd", "pwd", "secret", "auth",
    "authorization", "signature", "sig", "user", "username", "usr", "credential",
]  # fmt: skip
# No "*", which is what a hidden part is replaced with. "&" ends a query value, so it is no part of one.
_SIGNS = "abcXYZ019%-._~:/?#[]@!$'()+,;=\""
secrets = st.text(alphabet=_SIGNS, min_size=8, max_size=20).map(lambda text: f"s3cr{text}s3cr")


def pieces_of(secret: str) -> list[str]:
    """Every part of the secret that is long enough to recognise it by; its first and last part are always among."""
    return [secret, secret[:4], secret[-4:]]


@settings(deadline=None)
@given(secret=secrets, userinfo=st.sampled_from(["{}", "{}:", ":{}", "me:{}", "{}:pw", "me:a@{}", "{}@x:y"]),
       rest=st.sampled_from(["", "/1", ":554/1?channel=2", "/x?token=abc"]),
       around=st.sampled_from(["{}", "401 for {} twice", "'{}'", "{{'url': '{}', 'n': 1}}"]))  # fmt: skip
@example(secret="s3cr?token=as3cr", userinfo="me:{}", rest="/1", around="{}")
def test_a_secret_in_the_userinfo_never_appears(secret: str, userinfo: str, rest: str, around: str) -> None:
    shown = redact_url(around.format(f"rtsp://{userinfo.format(secret)}@cam{rest}"))
    assert not any(piece in shown for piece in pieces_of(secret))


@settings(deadline=None)
@given(secret=secrets, name=st.sampled_from(SECRET_NAMES), userinfo=st.sampled_from(["", "me:pw@", "me@"]),
       query=st.sampled_from(["?{}", "?x=1&{}", "?{}&x=1", "?x=1&{}&y=2", "?mail=a@b&{}", "?x=1;{}"]),
       around=st.sampled_from(["{}", "401 for {} twice", "{{'url': '{}', 'n': 1}}"]))  # fmt: skip
@example(secret="s3cr@home-s3cr", name="token", userinfo="", query="?{}", around="{}")
def test_a_secret_in_the_query_never_appears(
    secret: str, name: str, userinfo: str, query: str, around: str
) -> None:
    shown = redact_url(around.format(f"http://{userinfo}cam/x{query.format(f'{name}={secret}')}"))
    assert not any(piece in shown for piece in pieces_of(secret))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam:554/1", "rtsp://cam:554/1"),
        ("rtsp://me:pw@cam:554/1", "rtsp://***@cam:554/1"),
        ("http://token@cam/x?channel=2", "http://***@cam/x?channel=2"),
        ("http://cam/x?channel=2&api_key=zz&n=1", "http://cam/x?channel=2&api_key=***&n=1"),
        ("/video.cgi?token=zz", "/video.cgi?token=***"),
        ("mail me@home.example", "mail me@home.example"),
        ("1 of 2 = 3?", "1 of 2 = 3?"),
    ],
)
def test_the_rest_of_the_text_stays(text: str, shown: str) -> None:
    assert redact_url(text) == shown


def test_a_long_hostile_text_is_read_in_time_linear_to_its_length() -> None:
    """A quadratic expression would need minutes for this."""
    redact_url("?passtokenkey" * 100_000)
    redact_url("http://" * 100_000)
