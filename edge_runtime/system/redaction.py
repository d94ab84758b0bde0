"""Hides secrets in text that reaches logs, events and status. Pure."""

import re

# The names of query parameters in which cameras and recorders carry secrets; any part of a name counts. The lengths are
# bounded, so that a hostile text takes no quadratic time.
_SECRET_QUERY = re.compile(
    r"([?&;][^=&;?\s]{0,64}(?:pass|pwd|token|key|secret|auth|sig|cred|user|usr)[^=&;?\s]{0,64}=)([^&\s]+)",
    re.IGNORECASE,
)
_WORD = re.compile(r"\S+")


def redact_url(text: str) -> str:
    """The text with the secrets of every URL in it hidden: ``rtsp://***@host/1?token=***``.

    The user name is hidden too, since some cameras take a token in its place.
    """
    if "=" in text:
        text = _SECRET_QUERY.sub(_hide_value, text)
    if "://" in text and "@" in text:
        text = _WORD.sub(_hide_userinfo, text)
    return text


def _hide_value(match: re.Match[str]) -> str:
    """An @ stays: before it may stand a password, which only looks like a query."""
    return f"{match[1]}***@" if "@" in match[2] else f"{match[1]}***"


def _hide_userinfo(match: re.Match[str]) -> str:
    """Up to the last @, because not every password is percent-encoded; an @ in the path costs the host name."""
    scheme, mark, rest = match[0].partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{mark}***@{host}" if at else match[0]
