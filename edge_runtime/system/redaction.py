"""Hides secrets in text and values that leave the process: logs, events, status, pages, answers, errors.

Two kinds of secret: those whose text is known (from the environment, a file, a camera's URL), wherever they stand; and
those whose place tells them, in URLs. Pure but for :data:`PROCESS`, what this process knows.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from html import escape
from numbers import Number
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST_SECRET = 3
"""Known texts shorter than this are no secret: they would hide half of every sentence."""
SURE_LENGTH = 6
"""Shorter ones are hidden only where they are no part of a longer word, and not where they are a value's whole text."""

# The names of query parameters in which cameras and recorders carry secrets; any part of a name counts, of the last
# group the whole name. The lengths are bounded, so that a hostile text takes no quadratic time.
_SECRET_QUERY = re.compile(
    r"([?&;](?:[^=&;?\s]{0,64}(?:pass|pwd|token|key|secret|auth|sig|cred|user|usr|login|session|ticket|hash|otp)"
    r"[^=&;?\s]{0,64}|p|u|pw|ps|pin|code|sid|id|uid|sess|access|acc|account|jwt|bearer|nonce|digest)=)([^&\s]+)",
    re.IGNORECASE,
)
_WORD = re.compile(r"\S+")
# From the mark to the last @ of the line before the next mark. A password may hold spaces; what looks like one before a
# port and an @ further on is hidden too.
_SPACED_USERINFO = re.compile(r"://(?!\*\*\*@)[^\s:/@]{0,256}:(?:(?!://)[^\n])*@")
_BARE_USERINFO = re.compile(r"(?<![^\s'\"(\[{=,])[^\s'\":/@]{1,256}:(?!//)[^\s@]{1,256}@(?=[\w.\[-])")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")

_Value = TypeVar("_Value")


def redact_url(text: str) -> str:
    """The text with the secrets of every URL in it hidden: ``rtsp://***@host/1?token=***``.

    The user name is hidden too, since some cameras take a token in its place. ``user:password@host`` is hidden also
    without a scheme.
    """
    if "=" in text:
        text = _SECRET_QUERY.sub(_hide_value, text)
    if "@" not in text:
        return text
    if "://" in text:
        text = _WORD.sub(_hide_userinfo, text)
        text = _SPACED_USERINFO.sub(f"://{HIDDEN}@", text)
    return _BARE_USERINFO.sub(f"{HIDDEN}@", text)


def _hide_value(match: re.Match[str]) -> str:
    """An @ stays: before it may stand a password, which only looks like a query."""
    return f"{match[1]}{HIDDEN}@" if "@" in match[2] else f"{match[1]}{HIDDEN}"


def _hide_userinfo(match: re.Match[str]) -> str:
    """Up to the last @, because not every password is percent-encoded; an @ in the path costs the host name."""
    scheme, mark, rest = match[0].partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{HIDDEN}@{host}" if at else match[0]


class Redactor:
    """Hides known secrets wherever they stand, and those of URLs."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._learned: set[str] = set()
        self._known: tuple[frozenset[str], re.Pattern[str] | None] = frozenset(), None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these too from now on; may be called while other threads hide or learn."""
        self._learned.update([secret for secret in secrets if len(secret) >= SHORTEST_SECRET])
        # Another thread may have learned more meanwhile, or put an older pattern in the place of ours.
        while self._known[0] != self._learned:
            known = frozenset(self._learned)
            self._known = known, _compile(known)

    def knows(self, text: str) -> bool:
        """Whether a known secret is in the text."""
        _, pattern = self._known
        return pattern is not None and pattern.search(text) is not None

    def text(self, text: str) -> str:
        """``text`` without known secrets and without passwords in URLs."""
        _, pattern = self._known
        if pattern is not None:
            text = pattern.sub(HIDDEN, text)
        return redact_url(text)

    def value(self, value: _Value) -> _Value:
        """The same value with every text in it redacted, keys of mappings too.

        A container keeps its kind: mappings are ``dict``, sets, lists, tuples, named tuples, dataclasses, bytes.
        Anything else, such as a path, an exception or an array of texts, becomes its text if that holds a secret.
        Enumerations stay, and a text that is nothing but a short secret: it may be a word such as ``ok``.
        """
        return self._clean(value)  # type: ignore[no-any-return]

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, Enum | Number):
            return value
        if isinstance(value, str):
            is_word = len(value) < SURE_LENGTH and value in self._known[0]
            return value if is_word else self.text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self.text(bytes(value).decode("utf-8", "surrogateescape")).encode(
                "utf-8", "surrogateescape"
            )
        if isinstance(value, Mapping):
            return self._clean_mapping(value)
        if isinstance(value, tuple) and hasattr(value, "_make"):
            return value._make(map(self._clean, value))
        if isinstance(value, tuple):
            return tuple(map(self._clean, value))
        if isinstance(value, AbstractSet):
            cleaned = frozenset(map(self._clean, value))
            return cleaned if isinstance(value, frozenset) else set(cleaned)
        if isinstance(value, Sequence):
            return [self._clean(one) for one in value]
        if is_dataclass(value) and not isinstance(value, type):
            return self._clean_dataclass(value)
        return self._clean_other(value)

    def _clean_mapping(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        """Keys that become alike are numbered: none is lost."""
        found: dict[Any, Any] = {}
        for key, one in value.items():
            shown, number = self._clean(key), 1
            base = shown
            while shown in found:
                number += 1
                shown = f"{base} {number}"
            found[shown] = self._clean(one)
        return found

    def _clean_dataclass(self, value: Any) -> Any:
        given = {one.name: getattr(value, one.name) for one in fields(value) if one.init}
        cleaned = {name: self._clean(one) for name, one in given.items()}
        changed = {
            name: one
            for name, one in cleaned.items()
            if one is not given[name] and not _is_equal(one, given[name])
        }
        return replace(value, **changed) if changed else value

    def _clean_other(self, value: Any) -> Any:
        if getattr(getattr(value, "dtype", None), "kind", "U") in "biufc":
            return value  # an array of numbers
        text = str(value)
        shown = self.text(text)
        return value if shown == text and self.text(repr(value)) == repr(value) else shown


def _is_equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


PROCESS = Redactor()
"""What this process knows: it learns the environment's secrets when it starts, and those of each configuration."""


def _compile(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """One expression for all, in every form that a text may have them in; the longest first."""
    forms = {form: len(secret) < SURE_LENGTH for secret in secrets for form in _forms(secret)}
    ordered = sorted(forms, key=len, reverse=True)
    return (
        re.compile("|".join(_pattern_of(form, is_short=forms[form]) for form in ordered)) if ordered else None
    )


def _forms(secret: str) -> set[str]:
    """As it is, percent-encoded, in a JSON string, in a Python literal, in HTML (with quotes by name and by number)."""
    encodable = secret.encode("utf-8", "surrogateescape")
    quoted = {quote(encodable, safe=safe) for safe in ("", "/", "!$&'()*+,;=:@", "!$&'()*+,;=:@/?")}
    literals = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    html = escape(secret)
    pages = {html, escape(secret, quote=False), html.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")}
    return {secret, quote_plus(encodable), *quoted, *literals, *pages}


def _pattern_of(form: str, *, is_short: bool) -> str:
    # %2f and %2F are the same character.
    escaped = [re.escape(part) for part in _ESCAPED.split(form)]
    codes = [f"(?i:{code})" for code in _ESCAPED.findall(form)]
    pattern = "".join(part + code for part, code in zip(escaped, [*codes, ""], strict=True))
    if not is_short:
        return pattern
    before = r"(?<![^\W_])" if form[0].isalnum() else ""
    after = r"(?![^\W_])" if form[-1].isalnum() else ""
    return before + pattern + after
