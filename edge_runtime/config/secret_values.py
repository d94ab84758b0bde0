"""Which values of a configuration are secrets by their place: a password, the user and password of a URL. Pure.

Texts that are secrets because the process knows them are the business of ``system.redaction``.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from edge_runtime.config.strict_yaml import load
from edge_runtime.errors import ConfigError
from edge_runtime.system.redaction import HIDDEN, Redactor, redact_url

ADVICE = "{EDGE_NAME}, filled from the environment of the box, or password_file: texts travel and are logged"

_VARIABLE = re.compile(r"\{EDGE_[A-Z0-9_]*\}")
_ONLY_VARIABLES = re.compile(r"(?:\{EDGE_[A-Z0-9_]*\})*")
_NAME = r"[\w-]*(?:pas+(?:w\w{0,6}|phrase|code)?|pwd|secret|token|credentials?|api[_-]?key)"
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_WRITTEN = re.compile(rf"^(?P<before>.*?(?<![\w-])[\"']?{_NAME}[\"']?\s*[:=])(?P<value>.*)$", re.IGNORECASE)

_BEFORE_KEY = re.compile(r"[{,?]")
_KEY = re.compile(r"""\s*[\w"'.-]+\s*:(?:\s|$)""")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")
_MARK = "\ufeff"
_EVERYWHERE = 1 << 30
"""An indentation that no line has."""


def find_secrets(values: Any, key: str = "", *, but_hidden: bool = False) -> Iterator[str]:
    """The dotted keys of all values that are secrets; ``key`` is the one that ``values`` stands at.

    ``but_hidden``: without those in the place of which stands that they are hidden.
    """
    if isinstance(values, Mapping):
        for name, value in values.items():
            inner = f"{key}.{name}" if key else str(name)
            yield from find_secrets(value, inner, but_hidden=but_hidden)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from find_secrets(value, key, but_hidden=but_hidden)
    elif values is None or isinstance(values, bool) or (but_hidden and HIDDEN in str(values)):
        return
    elif _is_secret(key, str(values)):
        yield key


def _is_secret(key: str, value: str) -> bool:
    if _SECRET_NAME.fullmatch(key.rpartition(".")[2]) and not _ONLY_VARIABLES.fullmatch(value):
        return True
    scheme, mark, rest = value.partition("://")
    userinfo, at, after = rest.rpartition("@")
    if mark and at:
        # A user without a password may be a token: some cameras take one in its place.
        user, colon, password = userinfo.partition(":")
        if not _ONLY_VARIABLES.fullmatch(password if colon else user):
            return True
        value = f"{scheme}{mark}{after}"
    literal = _VARIABLE.sub("", value)
    return redact_url(literal) != literal


def holds_secret(text: str) -> bool:
    """Whether a secret stands in the text of a configuration; of a broken one also where that may only be so."""
    try:
        data = load(text, "").data
    except ConfigError:
        return hide_secrets(text) != text
    return next(find_secrets(data), None) is not None


def hide_secrets(text: str) -> str:
    """The text of a configuration, which may be broken, with the secrets hidden that stand in it."""
    try:
        load(text, "")
    except ConfigError:
        shown = _hide_by_line(text)
    else:
        shown = _hide_by_place(text)
    return redact_url("\n".join(map(_hide_in_comment, shown.split("\n"))))


def _hide_by_place(text: str) -> str:
    """Of YAML: the same value may be written with escapes or over several lines, so it is hidden where it stands."""
    content = text.removeprefix(_MARK)
    root = yaml.compose(content, Loader=yaml.CSafeLoader)
    if root is None:
        return text
    shown, done, secrets = [text[: len(text) - len(content)]], 0, list[str]()
    for node, is_secret in _scalars(root, is_secret=False):
        start, end = node.start_mark.index, node.end_mark.index
        instead = _write_instead(node.value, content[start:end], is_secret=is_secret)
        if instead is not None:
            shown += [content[done:start], instead]
            done = end
        if is_secret:
            secrets += [node.value, *node.value.split("\n")]
    # What is hidden at its place may stand in a comment or under another name, too.
    return Redactor(secrets).text("".join([*shown, content[done:]]))


def _scalars(node: yaml.Node, *, is_secret: bool) -> Iterator[tuple[yaml.ScalarNode, bool]]:
    """All values in their order, and whether each is a secret by its key."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            named = isinstance(key, yaml.ScalarNode) and _SECRET_NAME.fullmatch(key.value) is not None
            yield from _scalars(value, is_secret=is_secret or named)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _scalars(value, is_secret=is_secret)
    elif isinstance(node, yaml.ScalarNode):
        yield node, is_secret and not _ONLY_VARIABLES.fullmatch(node.value)


def _write_instead(value: str, written: str, *, is_secret: bool) -> str | None:
    """What stands in the place of a value; None: it stays."""
    end = "\n" if written.endswith("\n") else ""
    if is_secret:
        mark = written[:1] if written[:1] in ("'", '"') else ""
        return f"{mark}{HIDDEN}{mark}{end}"
    shown = redact_url(value)
    return (
        f"{json.dumps(shown, ensure_ascii=False)}{end}" if shown != value and value not in written else None
    )


def _hide_by_line(text: str) -> str:
    """Of a text that is no YAML: all after a secret's name, and the lines below it that may belong to it."""
    shown, below = list[str](), _Below(_EVERYWHERE, "-")
    for line in text.split("\n"):
        indent = _indent_of(line)
        if below.takes(line):
            shown.append(" " * indent + HIDDEN if line.strip() else line)
            continue
        if _is_name_alone(line):
            below = _Below(indent, "")
            shown.append(line)
            continue
        found = _WRITTEN.match(line) or _WRITTEN.match(_unescape(line))
        below = _Below(_EVERYWHERE, "-") if found is None else _Below(indent, found["value"])
        shown.append(line if found is None else f"{found['before']} {HIDDEN}")
    return "\n".join(shown)


class _Below:
    """The lines below a secret's name, which may belong to it."""

    def __init__(self, indent: int, value: str) -> None:
        """``value``: what stands behind the name."""
        self._indent, value = indent, value.strip()
        self._is_next = not value or value.startswith("#")
        self._quote = value[0] if value[:1] in ("'", '"') and value.count(value[0]) == 1 else ""

    def takes(self, line: str) -> bool:
        """Whether the next line belongs to it: an open quotation, deeper lines; the first also within braces."""
        if not line.strip():
            return True
        is_next, self._is_next = self._is_next, False
        if self._quote:
            self._quote = "" if self._quote in line else self._quote
            return True
        return _indent_of(line) > self._indent or (is_next and _KEY.match(line) is None)


def _is_name_alone(line: str) -> bool:
    """Whether a line ends with a secret's name, whose colon is on the next one."""
    last = _BEFORE_KEY.split(line)[-1].strip().strip("\"'")
    return _SECRET_NAME.fullmatch(last) is not None


def _indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def _unescape(line: str) -> str:
    """As YAML reads the escapes of a quoted text."""
    return _ESCAPE.sub(lambda found: chr(min(int(found[1] or found[2] or found[3], 16), 0x10FFFF)), line)


def _hide_in_comment(line: str) -> str:
    before, mark, comment = line.partition("#")
    found = _WRITTEN.match(comment) if mark else None
    if found is None or _ONLY_VARIABLES.fullmatch(found["value"].strip().strip("\"'")):
        return line
    return f"{before}{mark}{found['before']} {HIDDEN}"
