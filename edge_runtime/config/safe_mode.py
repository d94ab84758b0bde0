"""The configuration of a box whose file cannot be used: no cameras, no models, and what keeps it within reach.

Every other section is read by itself. It is what the file says; where that is wrong, or the file is no YAML, what was
in force last; else its default. Nobody gets a right from a text that cannot be read:

- ``commands`` that are wrong with nothing in force before: none is obeyed. With something in force before, the file
  only takes rights away, as it does from a daemon that runs. Where no command was obeyed before, ``commands`` of then
  gave nobody a right. A file that does not say who may command may have been cut off: then a caller without a signature
  may only ask.
- Where no text tells the state directory, and nothing was in force with the likeliest one, none is obeyed either: it is
  not known which were obeyed already, so that a copy would be taken for new.
- ``http`` that is wrong is the one before, else on this machine only. Without a ``device`` there is no topic, so no
  broker.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.config.commands import CommandsConfig, restrict
from edge_runtime.config.connections import MqttConfig
from edge_runtime.config.history import ConfigHistory
from edge_runtime.config.last_good import find_last_good_text, find_state_dirs
from edge_runtime.config.load import has_file, parse_config, read_file, require_sections, resolve_links
from edge_runtime.config.parts import read_commands, read_section
from edge_runtime.config.shape import Config, SinkConfig
from edge_runtime.config.strict_yaml import Document, load
from edge_runtime.errors import ConfigError

NO_NAME = "unnamed"
"""``device`` where no text tells it."""
_READ_OTHERWISE = frozenset(
    {"models", "cameras", "sensors", "device", "state_dir", "mqtt", "commands", "sink"}
)


def find_safe_config(path: Path, env: Mapping[str, str]) -> Config:
    """The one for a file that cannot be used or read, or whose models cannot be opened."""
    text = b""
    with suppress(ConfigError):
        text = read_file(path)
    return make_safe_config(text, find_last_good_text(path, env), path, env)


def make_safe_config(text: bytes, before: bytes | None, path: Path, env: Mapping[str, str]) -> Config:
    """The same for any text of the file, with the text that was ``before`` it in force, where there is one."""
    own_file = resolve_links(path)
    with suppress(ConfigError):
        whole = parse_config(text, str(path), env, base=own_file.parent, own_file=own_file)
        return whole.model_copy(update={"models": {}, "cameras": {}, "sensors": {}})
    reading = _Reading(_parse(text, path), None if before is None else _parse(before, path), path, env)
    names = Config.model_fields.keys() - _READ_OTHERWISE
    device, state_dir = reading.find("device", NO_NAME), reading.find("state_dir", None)
    likeliest = find_state_dirs(path, env)[0]
    remembers = state_dir is not None or bool(ConfigHistory(path, likeliest).entries())
    commands = reading.find_commands() if remembers else None
    config = Config.for_safe_mode(
        device=device,
        state_dir=state_dir or likeliest,
        mqtt=_restrict_mqtt(reading.find("mqtt", None), device, is_obeying=commands is not None),
        commands=commands or CommandsConfig(),
        sink=_without_path(reading.find("sink", None)),
        **{name: reading.find(name, default_of(name)) for name in names},
    )
    return config.with_source(text, {} if reading.now is None else reading.now.lines)


def default_of(name: str) -> Any:
    """Of a key of the top level that has one."""
    return Config.model_fields[name].get_default(call_default_factory=True)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Two texts, section by section."""

    now: Document | None
    """None: it is no YAML."""
    before: Document | None
    path: Path
    env: Mapping[str, str]

    def find(self, name: str, otherwise: Any) -> Any:
        """A section as the file has it, else as it was before."""
        for document in (self.now, self.before):
            if document is not None:
                with suppress(ConfigError):
                    return read_section(document, name, self.env, resolve_links(self.path).parent)
        return otherwise

    def find_commands(self) -> CommandsConfig | None:
        """None: nobody may command."""
        wanted = self._read_commands(self.now)
        kept = self._read_commands(self.before) if self._was_obeying() else None
        if wanted is None:
            found = kept
        elif kept is not None:
            found = restrict(kept, wanted)
        elif not wanted.keys and wanted.unsigned is None:
            found = wanted.model_copy(update={"unsigned": "viewer"})
        else:
            found = wanted
        return None if found is None else _leave_out_missing_keys(found)

    def _was_obeying(self) -> bool:
        """Whether the text before let anybody command; its broker's password may be away now."""
        mqtt = None if self.before is None else self.before.data.get("mqtt")
        return isinstance(mqtt, Mapping) and bool(mqtt.get("commands"))

    def _read_commands(self, document: Document | None) -> CommandsConfig | None:
        if document is not None:
            with suppress(ConfigError):
                return read_commands(document, self.env, resolve_links(self.path).parent)
        return None


def _parse(text: bytes, path: Path) -> Document | None:
    with suppress(ConfigError):
        document = load(text, str(path))
        require_sections(document)
        return document
    return None


def _leave_out_missing_keys(commands: CommandsConfig) -> CommandsConfig:
    """One that is away must not keep the owners of the others out, nor let in who needs no key then."""
    there = {name: one for name, one in commands.keys.items() if has_file(one.file)}
    if there == commands.keys:
        return commands
    return commands.model_copy(update={"keys": there, "unsigned": commands.unsigned_role or "none"})


def _restrict_mqtt(mqtt: MqttConfig | None, device: str, *, is_obeying: bool) -> MqttConfig | None:
    if mqtt is None or device == NO_NAME:
        return None
    return mqtt if is_obeying else mqtt.model_copy(update={"commands": False})


def _without_path(sink: SinkConfig | None) -> SinkConfig | None:
    """Whether something else is at its path depends on cameras and models."""
    return None if sink is None or sink.path is not None else sink
