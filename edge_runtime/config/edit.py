"""Changes single values of the configuration: comments and order stay.

``strict_yaml`` says why the configuration is read with another library; it checks the text before and after.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString
from ruamel.yaml.util import load_yaml_guess_indent

from calibration.stats.regular_file import read_regular
from edge_runtime.config.load import parse_config, resolve_links
from edge_runtime.config.strict_yaml import MAX_BYTES, Document, is_plain_text, load
from edge_runtime.errors import ConfigError, Problem, StateError
from edge_runtime.system.atomic_file import write_atomically

_NEVER_WRAP = 1 << 20


def edit_model(path: Path, env: Mapping[str, str], model: str, edits: Mapping[str, Any]) -> None:
    """Set values of one model in the file, which is replaced as a whole or not at all.

    Args:
        path: The configuration file; a link is followed.
        env: Where ``{EDGE_...}`` in values comes from; they stay as they are in the file.
        model: Name of the model in the file.
        edits: Values by key below the model, such as ``threads`` or ``engine.runtime``.

    Raises:
        ConfigError: the file is not a good configuration, has no such model, or would not be a good one afterwards.
        StateError: it cannot be read or written.
    """
    target = resolve_links(path)
    text = _read(path, target)
    before = parse_config(text, str(path), env, base=target.parent, own_file=target)
    if model not in before.models:
        raise ConfigError(str(path), (Problem("models", None, f"no model {model!r}", "one of the file"),))
    edited = edit_text(text.decode("utf-8-sig"), path, model, edits).encode()
    after = parse_config(edited, str(path), env, base=target.parent, own_file=target)
    # Nothing but the model's threads and engine may have changed, even if the library damaged the text.
    same = {"threads": before.models[model].threads, "engine": before.models[model].engine}
    restored = after.models[model].model_copy(update=same)
    if after.model_copy(update={"models": {**after.models, model: restored}}) != before:
        raise _other_values(path)
    write_atomically(target, edited)


def extend_trust(path: Path, env: Mapping[str, str], key: str, entries: Sequence[str]) -> None:
    """Add entries to a list of the section ``trust``; those that are there already are not added again.

    Args:
        path: The configuration file; a link is followed.
        env: Where ``{EDGE_...}`` in values comes from; they stay as they are in the file.
        key: ``keys`` or ``revoked``.
        entries: Texts, as they stand in the file.

    Raises:
        ConfigError: the file is not a good configuration, or would not be a good one afterwards.
        StateError: it cannot be read or written.
    """
    target = resolve_links(path)
    text = _read(path, target)
    before = parse_config(text, str(path), env, base=target.parent, own_file=target)

    def extend(data: Any) -> None:
        section = data.get("trust")
        there = (section.get(key) if isinstance(section, dict) else None) or []
        _set(data, ["trust", key], [*there, *(entry for entry in entries if entry not in there)])

    edited = _edit(text.decode("utf-8-sig"), path, extend).encode()
    after = parse_config(edited, str(path), env, base=target.parent, own_file=target)
    if after.model_copy(update={"trust": before.trust}) != before:
        raise _other_values(path)
    write_atomically(target, edited)


def edit_keys(text: bytes, source: str, values: Mapping[str, Any], remove: Sequence[str]) -> bytes:
    """The text of a configuration with other values; its result is not checked as a configuration.

    Args:
        text: YAML; it may be wrong as a configuration.
        source: Name for messages.
        values: What to set, by dotted key such as ``cameras.belt.fps``; sections that are missing are made.
        remove: Dotted keys to take out, before anything is set.

    Raises:
        ConfigError: the text is no YAML, a key has no place in it, or it cannot be edited by a program.
    """
    document = load(text, source)
    expected: Any = document.data if document.data is not None else {}
    edited = text.decode("utf-8-sig") if expected else "{}\n"
    for key in remove:
        edited = _remove(edited, source, key.split("."), document)
        _section_of(expected, key.split("."), document).pop(key.split(".")[-1])
    if values:

        def set_all(data: Any) -> None:
            for key, value in values.items():
                _set(data, key.split("."), _quote(value))

        for key, value in values.items():
            _set_plain(expected, key.split("."), value, document)
        edited = _edit(edited, Path(source), set_all)
    # Nothing else may have changed, even if the library damaged the text.
    if load(edited, source).data != expected:
        raise _other_values(Path(source))
    return edited.encode()


def _section_of(data: Any, keys: Sequence[str], document: Document) -> Any:
    """The section that has this key.

    Raises:
        ConfigError: there is none.
    """
    for depth, key in enumerate(keys):
        if not isinstance(data, dict) or key not in data:
            place = Problem(
                ".".join(keys), document.nearest_line(keys), "is not in the file", "a key that is"
            )
            raise ConfigError(document.source, (place,))
        if depth == len(keys) - 1:
            return data
        data = data[key]
    raise AssertionError("a key has at least one part")


def _set_plain(data: Any, keys: Sequence[str], value: Any, document: Document) -> None:
    """Do in plain data what ``_set`` does in the text; refuse to replace a value by a section."""
    for depth, key in enumerate(keys[:-1], 1):
        if data.get(key) is None:
            data[key] = {}
        if not isinstance(data[key], dict):
            where, line = ".".join(keys[:depth]), document.nearest_line(keys[:depth])
            problem = Problem(where, line, "a value", f"a section, which can have the key {keys[depth]!r}")
            raise ConfigError(document.source, (problem,))
        data = data[key]
    data[keys[-1]] = value


def _quote(value: Any) -> Any:
    """Text that the other library, which reads YAML 1.1, would take for something else is put in quotes."""
    if isinstance(value, dict):
        return {key: _quote(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_quote(one) for one in value]
    is_other = isinstance(value, str) and not is_plain_text(value)
    return DoubleQuotedScalarString(value) if is_other else value


def _remove(text: str, source: str, keys: Sequence[str], document: Document) -> str:
    """Take a key out: its own lines where it has some, so that comments around it stay."""
    data = _load(text, source)
    section = _section_of(data, keys, document)
    if not section.fa.flow_style() and len(section) > 1:
        line, indent = section.lc.key(keys[-1])
        return _cut_lines(text, line, indent)
    return _edit(text, Path(source), lambda data: _section_of(data, keys, document).pop(keys[-1]))


def _cut_lines(text: str, first: int, indent: int) -> str:
    """Without the lines of the key on line ``first`` (from 0); empty lines and comments after them stay."""
    lines = text.splitlines(keepends=True)
    after = first + 1
    for number in range(first + 1, len(lines)):
        line = lines[number]
        content = line.strip()
        depth = len(line) - len(line.lstrip(" "))
        is_inside = depth > indent or (depth == indent and content.startswith("- "))
        if content and not is_inside and not content.startswith("#"):
            break
        if content and is_inside:
            after = number + 1
    return "".join([*lines[:first], *lines[after:]])


def _read(path: Path, target: Path) -> bytes:
    try:
        return read_regular(target, MAX_BYTES + 1)
    except OSError as err:
        raise StateError(f"cannot read {path}: {err.strerror}") from err


def _other_values(path: Path) -> ConfigError:
    problem = Problem("", None, "a file whose other values would change as well", "an edit by hand")
    return ConfigError(str(path), (problem,))


def edit_text(text: str, path: Path, model: str, edits: Mapping[str, Any]) -> str:
    """The text with other values; ``path`` is for messages.

    Raises:
        ConfigError: it cannot be edited by a program.
    """

    def edit(data: Any) -> None:
        for key, value in edits.items():
            _set(data["models"][model], key.split("."), value)

    return _edit(text, path, edit)


def _load(text: str, source: str) -> Any:
    try:
        return YAML().load(text)
    except YAMLError as err:
        raise _not_editable(err, source) from err


def _not_editable(err: YAMLError, source: str) -> ConfigError:
    return ConfigError(source, (Problem("", None, f"cannot be edited: {err}", "an edit by hand"),))


def _edit(text: str, path: Path, edit: Callable[[Any], None]) -> str:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NEVER_WRAP
    line_end = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    try:
        _, sequence, dash = load_yaml_guess_indent(text)
        if sequence is not None:
            yaml.indent(mapping=_mapping_indent(text), sequence=sequence, offset=dash or 0)
        data = yaml.load(text)
        edit(data)
        edited = io.StringIO()
        yaml.dump(data, edited)
    except YAMLError as err:
        raise _not_editable(err, str(path)) from err
    return edited.getvalue().replace("\n", line_end)


def _mapping_indent(text: str) -> int:
    """By how much the first nested key is indented; 2 where there is none."""
    found = re.search(r"^[^\s#][^#\n]*:[^\n]*\n(?:[ \t]*(?:#[^\n]*)?\n)*( +)[^\s#-]", text, re.MULTILINE)
    return len(found[1]) if found else 2


def _set(section: Any, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(section.get(key), dict):
            inner = CommentedMap()
            if section.fa.flow_style():
                inner.fa.set_flow_style()
            _put(section, key, inner)
        section = section[key]
    _put(section, keys[-1], value)


def _put(section: Any, key: str, value: Any) -> None:
    if key in section or len(section) == 0 or section.fa.flow_style():
        section[key] = value
    else:  # before the last key: blank lines and comments below it belong to what comes next
        section.insert(len(section) - 1, key, value)
