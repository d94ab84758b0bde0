"""Bodies in memory: how many, and that a large one keeps nobody waiting."""

import asyncio
import logging

import pytest

from edge_runtime.http.request_body import FORM_STEP_BYTES, find_form_file, load_json
from edge_runtime.serving.refusals import Refusal


def test_a_large_form_is_read_in_steps_between_which_others_are_served():
    picture = b"\r\n" * (2 * FORM_STEP_BYTES)
    head = b'--bound\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n'
    turns = 0

    async def serve_others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def read():
        others = asyncio.create_task(serve_others())
        body = head + picture + b"\r\n--bound--\r\n"
        found = await find_form_file("multipart/form-data; boundary=bound", body)
        others.cancel()
        return found

    assert asyncio.run(read()) == picture
    assert turns >= len(picture) // FORM_STEP_BYTES


def test_a_broken_form_is_told_to_its_sender_and_not_to_the_log(caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(Refusal) as caught:
        asyncio.run(find_form_file("multipart/form-data; boundary=b", b"--------"))
    assert caught.value.code == 400
    assert [one for one in caplog.records if one.name.startswith("python_multipart")] == []


@pytest.mark.parametrize(
    "header", [b"a:b\r\n" * 1000, b"a" * 100_000 + b":b\r\n", b"a:" + b"b" * 100_000 + b"\r\n"]
)
def test_a_form_of_headers_is_refused(header):
    """Each takes twenty times its size in memory; the parser's limit, in the versions that are allowed."""
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n'
    with pytest.raises(Refusal):
        asyncio.run(
            find_form_file("multipart/form-data; boundary=b", head + header + b"\r\npicture\r\n--b--\r\n")
        )


@pytest.mark.parametrize(
    ("text", "code"), [(b"[1,2,3,4]", 413), (b"[[[[[", 413), (b'{"a":1', 400), (b"\xff", 400)]
)
def test_json_is_counted_before_it_is_read(text, code):
    assert load_json(b"[1,2,3]", 3) == [1, 2, 3]
    with pytest.raises(Refusal) as caught:
        load_json(text, 3)
    assert caught.value.code == code
