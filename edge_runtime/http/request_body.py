"""Reading the body of a request: as long as may be, in bounded time.

And the picture or window in it: the raw bytes, a form (``curl -F``), or Base64 in JSON.
"""

import asyncio
import binascii
import logging
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import orjson
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from edge_runtime.serving.refusals import Refusal, slow, too_large

BODY_S = 30.0
"""Longest time for a body."""
DISCARD_S = 5.0
FORM_STEP_BYTES = 256 * 1024
"""Of a form, read at a time: 10 ms."""
MOST_URL_BYTES = 8_192
"""Of the JSON around an address: longer JSON is read in the thread that prepares pictures."""
MOST_VALUES = 1_000
"""In the JSON around a picture."""


logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it warns of what its caller is told


def find_size(request: Request, most_bytes: int, key: str) -> int:
    """Memory that the body may take: what the request says of it, else the most.

    Raises:
        Refusal: it says more than that.
    """
    stated = request.headers.get("content-length")
    if stated is None:
        return most_bytes
    if not (stated.isascii() and stated.isdigit()) or len(stated) > 18 or int(stated) > most_bytes:
        raise too_large(most_bytes, key)
    return int(stated)


async def read_body(request: Request, most_bytes: int, key: str) -> bytes:
    """The whole body.

    Raises:
        Refusal: it is too long, comes too slowly, or is encoded.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "a Content-Encoding; expected none")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > most_bytes:
                    raise too_large(most_bytes, key)
    except TimeoutError as err:
        raise slow() from err
    except ClientDisconnect as err:
        raise Refusal(400, "the connection ended within the body") from err
    return bytes(body)


async def discard_body(request: Request) -> None:
    """Read on for a while: a connection that is cut while its client still sends shows it no answer."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(DISCARD_S):
            async for _ in request.stream():
                pass


async def find_form_file(content_type: str, body: bytes) -> bytes:
    """The one file of a form; kept in memory. The server's thread does other work in between.

    Raises:
        Refusal: it is no form, or there is not one file in it.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(body), FORM_STEP_BYTES):
            yield body[at : at + FORM_STEP_BYTES]
            await asyncio.sleep(0)

    parser = MultiPartParser(
        Headers({"content-type": content_type}), stream(), max_files=1, max_fields=1, max_part_size=len(body)
    )
    parser.spool_max_size = len(body) + 1
    try:
        found = await parser.parse()
    except MultiPartException as err:
        raise Refusal(400, f"form: {err.message[:200]}") from err
    parts = [part for _, part in found.multi_items() if isinstance(part, UploadFile)]
    if len(parts) != 1:
        raise Refusal(400, "form: no file; expected one: curl -F file=@picture.jpg")
    with parts[0].file as file:
        return file.read()


def find_json_picture(body: bytes) -> bytes:
    """The picture in ``{"image": BASE64}``.

    Raises:
        Refusal: it is something else.
    """
    found = load_json(body, MOST_VALUES)
    text = found.get("image") if isinstance(found, dict) else None
    if not isinstance(text, str):
        expected = '{"image": "..."} with its bytes in Base64, or {"url": "https://..."}'
        raise Refusal(400, f"JSON without a picture; expected {expected}")
    return decode_base64(text)


def find_url(body: bytes) -> str | None:
    """The address in ``{"url": ADDRESS}``; None where there is another thing, which may be a picture.

    Raises:
        Refusal: it is no JSON, or no address.
    """
    if len(body) > MOST_URL_BYTES:
        return None
    found = load_json(body, MOST_VALUES)
    if not isinstance(found, dict) or "url" not in found:
        return None
    if "image" in found or not isinstance(found["url"], str):
        raise Refusal(400, 'JSON with another url; expected {"url": "https://..."} alone')
    return str(found["url"])


def decode_base64(text: str) -> bytes:
    """The bytes of a text in Base64.

    Raises:
        Refusal: it is something else.
    """
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise Refusal(400, f"no Base64 ({err})") from err


def load_json(body: bytes, most_values: int) -> Any:
    """The value of a JSON text, which has at most so many values: each takes memory, up to 70 bytes for 2 of text.

    Raises:
        Refusal: it is no JSON, or has more.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > most_values:
        raise Refusal(413, f"JSON of more than {most_values} values")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise Refusal(400, f"no JSON ({err})") from err
