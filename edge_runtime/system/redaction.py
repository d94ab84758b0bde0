"""Hides secrets in text that reaches logs, events and status. Pure."""

import re

_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/@:]*)(:[^\s/]*)?@")


_SECRET_QUERY = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|token|key|secret|auth)[^=&\s]*=)[^&\s'\"]+", re.IGNORECASE
)


def redact_url(text: str) -> str:
    """The text with the secrets of every URL in it hidden: ``rtsp://me:***@host/1?token=***``."""
    if "://" not in text:
        return text
    without_password = _CREDENTIALS.sub(lambda m: f"{m[1]}:***@" if m[2] else m[0], text)
    return _SECRET_QUERY.sub(r"\1***", without_password)
