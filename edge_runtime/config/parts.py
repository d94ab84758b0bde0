"""Parts of a configuration file that are read by themselves, whatever is wrong with the others.

A daemon must be reachable, and obey no revoked key, most of all when the last edit of its file was refused.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, create_model

from edge_runtime.config.commands import CommandsConfig, restrict
from edge_runtime.config.connections import MqttConfig
from edge_runtime.config.load import (
    Filling,
    fill_from_files,
    read_file,
    refusal,
    require_sections,
    resolve_links,
    validate,
)
from edge_runtime.config.shape import Config
from edge_runtime.config.strict_yaml import Document, load
from edge_runtime.config.trust import TrustConfig
from edge_runtime.config.values import Name
from edge_runtime.errors import ConfigError, Problem

_Model = TypeVar("_Model", bound=BaseModel)
_LOOSE = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Address(BaseModel):
    """Where a device is reached: what a command to it needs of its configuration, and nothing else."""

    model_config = _LOOSE

    device: Name
    mqtt: MqttConfig | None = None


def load_address(path: Path, env: Mapping[str, str]) -> Address:
    """Read ``device`` and ``mqtt`` of a configuration file, even if its other sections are wrong.

    Raises:
        ConfigError: the file is not YAML, or one of the two cannot be used.
    """
    document, base = _load(path), resolve_links(path).parent
    address = _read_part(Address, document, env, base)
    return address.model_copy(update={"mqtt": _fill(address.mqtt, document)})


def load_state_dir(path: Path, env: Mapping[str, str]) -> Path | None:
    """The ``state_dir`` of a configuration file, even if its other sections are wrong; None when it names none.

    Raises:
        ConfigError: the file is not YAML, or the value cannot be used.
    """
    document = _load(path)
    if document.data.get("state_dir") is None:
        return None
    found = read_section(document, "state_dir", env, resolve_links(path).parent)
    assert isinstance(found, Path)
    return found


def restrict_by_refused(path: Path, env: Mapping[str, str], in_force: Config) -> Config:
    """What is in force, with what a file that is refused for something else says of ``trust`` and ``commands``.

    Of ``commands`` only what takes rights away counts; a file without that section names no key. A section that is
    wrong itself changes nothing. Whether the keys that are named are there is not checked.
    """
    sections: dict[str, TrustConfig | CommandsConfig] = {}
    with suppress(ConfigError):
        document, base = _load(path), resolve_links(path).parent
        if document.data.get("trust") is not None:
            with suppress(ConfigError):
                sections["trust"] = read_section(document, "trust", env, base)
        sections["commands"] = restrict(in_force.commands, read_commands(document, env, base))
    return in_force.model_copy(update=sections)


def read_commands(document: Document, env: Mapping[str, str], base: Path) -> CommandsConfig:
    """The section ``commands``; without keys where the text has none, or an empty one.

    Raises:
        ConfigError: it is wrong.
    """
    if document.data.get("commands") is None:
        return CommandsConfig()
    found = read_section(document, "commands", env, base)
    assert isinstance(found, CommandsConfig)
    return found


def read_section(document: Document, name: str, env: Mapping[str, str], base: Path) -> Any:
    """The value of one key of the top level, its default when the text does not have it.

    Args:
        document: Its data are a mapping.
        name: A field of ``Config``.
        env: Where ``{EDGE_...}`` in values comes from.
        base: Folder that relative paths count from.

    Raises:
        ConfigError: it is wrong, or missing without a default.
    """
    found = getattr(_read_part(_shape_of(name), document, env, base), name)
    return _fill(found, document) if isinstance(found, MqttConfig) else found


@cache
def _shape_of(name: str) -> type[BaseModel]:
    """``Config`` with one field only."""
    info = Config.model_fields[name]
    fields: dict[str, Any] = {name: (info.annotation, info)}
    return create_model("Part", __config__=_LOOSE, **fields)


def _load(path: Path) -> Document:
    document = load(read_file(path), str(path))
    require_sections(document)
    return document


def _read_part(shape: type[_Model], document: Document, env: Mapping[str, str], base: Path) -> _Model:
    """The keys that ``shape`` has, checked without the others."""
    filling = Filling(env, document)
    given = shape.model_fields.keys() & document.data.keys()
    data = {key: filling.fill(document.data[key], (key,)) for key in given}
    problems = list(filling.problems)
    part = validate(shape, data, document, base, problems)
    if part is None or problems:
        raise refusal(document, problems)
    return part


def _fill(mqtt: MqttConfig | None, document: Document) -> MqttConfig | None:
    problems: list[Problem] = []
    filled = mqtt and fill_from_files(mqtt, document, problems)
    if problems:
        raise refusal(document, problems)
    return filled
