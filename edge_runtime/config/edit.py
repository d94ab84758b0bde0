"""Changes single values of a model or of ``trust`` in the configuration file: comments and order stay.

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
from ruamel.yaml.util import load_yaml_guess_indent

from edge_runtime.config import parse_config
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
    target = path.resolve()
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
    target = path.resolve()
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


def _read(path: Path, target: Path) -> bytes:
    try:
        return target.read_bytes()
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
        problem = Problem("", None, f"cannot be edited: {err}", "an edit by hand")
        raise ConfigError(str(path), (problem,)) from err
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
