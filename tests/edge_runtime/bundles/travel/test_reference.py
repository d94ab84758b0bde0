from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundles.travel.reference import Reference, parse_reference
from edge_runtime.errors import BadReference
from edge_runtime.system.redaction import redact_url

HASH = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oci://ghcr.io/acme/parts:4", Reference("ghcr.io", "acme/parts", "4", None)),
        ("oci://127.0.0.1:5000/parts:4", Reference("127.0.0.1:5000", "parts", "4", None)),
        (f"oci://[::1]:5000/parts@{HASH}", Reference("[::1]:5000", "parts", None, HASH)),
        (f"oci://localhost/a/b/parts:stable@{HASH}", Reference("localhost", "a/b/parts", "stable", HASH)),
    ],
)
def test_a_reference_is_read(text, expected):
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "oci://", "parts:4", "https://host/parts:4", "oci://host", "oci:///parts:4", "oci://host/parts",
        "oci://host/Parts:4", "oci://host/../parts:4", "oci://host/parts/:4", "oci://host/parts:", "oci://host/parts@",
        "oci://host/parts@sha256:abc", f"oci://host/parts@{HASH.upper()}", "oci://host:0/parts:4",
        "oci://host:99999/parts:4", "oci://host:x/parts:4", "oci://host/parts:4?x=y", "oci://host/parts:a b",
        "oci://host/" + "a" * 600 + ":4", "oci://host/parts:4\n",
    ],
)  # fmt: skip
def test_what_is_none_is_refused(text):
    with pytest.raises(BadReference):
        parse_reference(text)


@pytest.mark.parametrize("text", ["host:15000/parts:4", "oci://host:15000/parts"])
def test_the_hiding_of_passwords_leaves_a_refusal_as_it_is(text):
    with pytest.raises(BadReference) as caught:
        parse_reference(text)
    assert redact_url(str(caught.value)) == str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    with suppress(BadReference):
        assert parse_reference("oci://" + text).repository in text


@pytest.mark.parametrize(
    "text", ["oci://joe:hunter2@host/parts:4", "oci://hunter2@host/parts", "oci://j:hunter2@/"]
)
def test_a_password_is_refused_and_not_shown(text):
    with pytest.raises(BadReference) as caught:
        parse_reference(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("localhost:5000", True), ("127.1.2.3:80", True), ("[::1]", True), ("10.0.0.1", False),
     ("localhost.example.org", False), ("127.0.0.1.example.org", False)],
)  # fmt: skip
def test_loopback_is_told_by_the_address(host, expected):
    assert Reference(host, "parts", "4", None).is_loopback is expected


def test_only_a_number_is_a_version():
    assert Reference("h", "a/parts", "12", None).version == 12
    assert [Reference("h", "parts", tag, None).version for tag in ("stable", "0", "01", None)] == [None] * 4


def test_the_words_for_people_pass_the_redactor_unchanged():
    text = str(Reference("h:5000", "a/parts", "4", HASH))
    assert redact_url(f"{text}: it is not there") == f"{text}: it is not there"
