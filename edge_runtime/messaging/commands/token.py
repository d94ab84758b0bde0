"""The form of a signed request, a compact JWS (RFC 7515 section 7.1): what is read before it is verified. Pure."""

import base64
import binascii
import re
from typing import Any

import orjson

_COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def is_token(payload: bytes) -> bool:
    """Whether a payload has the form of a compact JWS; JSON never has."""
    return _COMPACT.fullmatch(payload.strip()) is not None


def read_key_id(token: bytes) -> str | None:
    """The ``kid`` of the header; None where there is none. Nothing of it is verified."""
    found = _read(token, 0).get("kid")
    return found if isinstance(found, str) else None


def has_critical_header(token: bytes) -> bool:
    """Whether the header names extensions that must be understood (``crit``, RFC 7515 section 4.1.11): none is here."""
    return "crit" in _read(token, 0)


def read_token_id(token: bytes) -> str | None:
    """The ``jti`` of the content, so that its caller recognises a refusal; None where there is none."""
    found = _read(token, 1).get("jti")
    return found if isinstance(found, str) else None


def _read(token: bytes, part: int) -> dict[str, Any]:
    """A part as a JSON object; an empty one where it is none."""
    text = token.strip().split(b".")[part]
    try:
        found = orjson.loads(base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True))
    except (binascii.Error, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
