"""Which scripts, styles and addresses a page of this server may use: those that are in it, and this server's."""

import base64
import hashlib
import re


def make_page_headers(page: bytes) -> dict[str, str]:
    """The headers of a page with its scripts and its style in it."""
    return {"Content-Security-Policy": content_policy(page), "Referrer-Policy": "no-referrer"}


def content_policy(page: bytes) -> str:
    """A policy that allows exactly the scripts and the style that are in the page."""

    def hashes(tag: bytes) -> str:
        bodies = re.findall(rb"<" + tag + rb">(.*?)</" + tag + rb">", page, re.DOTALL)
        return " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(body).digest()).decode()}'" for body in bodies
        )

    return (
        f"default-src 'none'; script-src {hashes(b'script')}; style-src {hashes(b'style')}; "
        "connect-src 'self'; img-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
