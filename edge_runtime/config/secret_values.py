"""Which values of a configuration are secrets by their place: a password, the user and password of a URL. Pure.

Texts that are secrets because the process knows them are the business of ``system.redaction``.
"""

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


def find_secrets(values: Any, key: str = "") -> Iterator[str]:
    """The dotted keys of all values that are secrets; ``key`` is the one that ``values`` stands at."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            yield from find_secrets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from find_secrets(value, key)
    elif values is not None and not isinstance(values, bool) and _is_secret(key, str(values)):
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
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        shown = Redactor(_texts_of(root, is_secret=False)).text(text) if root is not None else text
    return redact_url("\n".join(map(_hide_in_comment, shown.split("\n"))))


def _texts_of(node: yaml.Node, *, is_secret: bool) -> Iterator[str]:
    """The secret scalars as they may be written: a quote twice, a long one over several lines."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            named = isinstance(key, yaml.ScalarNode) and _SECRET_NAME.fullmatch(key.value) is not None
            yield from _texts_of(value, is_secret=is_secret or named)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _texts_of(value, is_secret=is_secret)
    elif is_secret and not _ONLY_VARIABLES.fullmatch(node.value):
        yield from (node.value, node.value.replace("'", "''"), *node.value.split("\n"))


def _hide_by_line(text: str) -> str:
    """Of a text that is no YAML: all after a secret's name, and the lines below it that are indented more."""
    shown, hides_below = list[str](), -1
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if hides_below >= 0 and (indent > hides_below or not line.strip()):
            shown.append(" " * indent + HIDDEN if line.strip() else line)
            continue
        found = _WRITTEN.match(line)
        hides_below = -1 if found is None else indent
        shown.append(line if found is None else f"{found['before']} {HIDDEN}")
    return "\n".join(shown)


def _hide_in_comment(line: str) -> str:
    before, mark, comment = line.partition("#")
    found = _WRITTEN.match(comment) if mark else None
    if found is None or _ONLY_VARIABLES.fullmatch(found["value"].strip().strip("\"'")):
        return line
    return f"{before}{mark}{found['before']} {HIDDEN}"
