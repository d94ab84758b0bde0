"""From a YAML file and the environment to a checked ``Config``, or to every problem at once.

The only place of the configuration that touches the disk. Secrets come from environment variables whose names begin
with ``EDGE_``, or from a file; they are never written into messages.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, SecretStr, ValidationError

from calibration.stats.regular_file import read_regular
from edge_runtime.config.connections import HttpConfig, MqttConfig
from edge_runtime.config.http_requests import TOKEN_EXPECTED, read_token
from edge_runtime.config.problems import did_you_mean, problems_of, show
from edge_runtime.config.shape import Config
from edge_runtime.config.sink_place import find_sink_problem
from edge_runtime.config.strict_yaml import MAX_BYTES, MAX_PROBLEMS, Document, load
from edge_runtime.errors import ConfigError, ConfigUnreadable, Problem
from edge_runtime.system.camera_address import CameraKind, kind_of
from edge_runtime.system.environment import SECRET_PREFIX, secrets_in
from edge_runtime.system.regular_file import TRANSIENT
from edge_runtime.system.sensor_address import STANDARD_INPUT

MAX_SECRET_BYTES = 4096
TRACKER = "trackforge"
"""The library that follows objects."""

_Model = TypeVar("_Model", bound=BaseModel)
_VARIABLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")


def load_config(path: Path, env: Mapping[str, str]) -> Config:
    """Read and check a YAML file; relative paths in it count from its folder, ``{EDGE_...}`` comes from ``env``.

    Raises:
        ConfigError: with every problem: path of the key, line, what was found, what was expected.
    """
    text = read_file(path)
    own_file = resolve_links(path)
    return parse_config(text, str(path), env, base=own_file.parent, own_file=own_file)


def resolve_links(path: Path) -> Path:
    """The file that a path leads to, absolute; for links in a circle no error, unlike ``Path.resolve``."""
    return Path(os.path.realpath(path))


def read_file(path: Path) -> bytes:
    """The bytes of a configuration file, at most one more than may be.

    Raises:
        ConfigUnreadable: not just now.
        ConfigError: it is not there, may not be read, or is no regular file.
    """
    try:
        return read_regular(path, MAX_BYTES + 1)
    except OSError as err:
        problem = Problem("", None, f"cannot be read ({err.strerror or err})", "a readable YAML file")
        kind = ConfigUnreadable if err.errno in TRANSIENT else ConfigError
        raise kind(str(path), (problem,)) from err


def parse_config(
    text: str | bytes,
    source: str,
    env: Mapping[str, str],
    *,
    base: Path | None = None,
    check_files: bool = True,
    own_file: Path | None = None,
    adjust: Callable[[Config], Config] = lambda config: config,
) -> Config:
    """Check a configuration that was already read.

    Args:
        text: YAML, at most 256 KiB.
        source: Name for messages.
        env: Where ``{EDGE_...}`` in values comes from.
        base: Folder that relative paths count from; None leaves them as they are.
        check_files: Whether named password and certificate files must be there now, and ``sink.path`` be free.
        own_file: The file that the text is from, where there is one.
        adjust: What is looked at on the disk is that of the configuration it gives.

    Raises:
        ConfigError: as ``load_config``.
    """
    document = load(text, source)
    require_sections(document)
    filling = Filling(env, document)
    data = filling.fill(document.data, ())
    problems = [*filling.problems, *islice(_cross_problems(document), MAX_PROBLEMS)]
    config = validate(Config, data, document, base, problems)
    if config is not None:
        config = adjust(config)
    if config is not None and config.mqtt is not None and check_files:
        config = config.model_copy(update={"mqtt": fill_from_files(config.mqtt, document, problems)})
    if config is not None and check_files:
        trusted = {("trust", "keys", str(index)): path for index, path in enumerate(config.trust.keys)}
        callers = {("commands", "keys", name, "file"): one.file for name, one in config.commands.keys.items()}
        for key, path in (trusted | callers).items():
            if not has_file(path):
                problems.append(_at(document, key, f"no file {path}", "a public key"))
        problems.extend(_http_problems(config.http, document))
        problems.extend(_tracking_problems(config, document))
    if config is not None and check_files and base is not None:
        found = find_sink_problem(config, own_file)
        if found is not None:
            problems.append(_at(document, ("sink", "path"), found, "a new file, or one that holds results"))
    if config is None or problems:
        raise refusal(document, problems)
    return config.with_source(text.encode() if isinstance(text, str) else text, document.lines)


def require_sections(document: Document) -> None:
    """Refuse a text that is no mapping.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(document.data, dict):
        found = "an empty file" if document.data is None else show(document.data)
        expected = "'key: value' lines: device, models, cameras, ..."
        raise ConfigError(document.source, (Problem("", None, found, expected),))


def refusal(document: Document, problems: list[Problem]) -> ConfigError:
    """The error with these problems, in the order of the file and each once."""
    ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.line is None, p.line or 0))
    return ConfigError(document.source, tuple(ordered))


def validate(
    shape: type[_Model], data: Any, document: Document, base: Path | None, problems: list[Problem]
) -> _Model | None:
    """The model, or None when ``problems`` has grown."""
    try:
        return shape.model_validate(data, context={"base": base})
    except ValidationError as err:
        known = {problem.where for problem in problems}
        problems.extend(p for p in problems_of(err, document, shape) if p.where not in known)
        return None


def secrets_of(config: Config, env: Mapping[str, str]) -> frozenset[str]:
    """Every secret text the process knows: from the environment, the password's file, the URLs of cameras."""
    texts = set(secrets_in(env))
    if config.mqtt is not None:
        texts.add(config.mqtt.password_text() or "")
    for camera in config.cameras.values():
        texts.add(camera.address.password or "")
    names = {
        config.device,
        *config.models,
        *config.streams,
        *(model.bundle for model in config.models.values()),
    }
    # A fleet may name its devices by a variable: topics show them anyway.
    return frozenset(texts - names - {""})


@dataclass(slots=True)
class Filling:
    """Puts environment variables into string values; what is missing becomes a problem at its key."""

    env: Mapping[str, str]
    document: Document
    problems: list[Problem] = field(default_factory=list)

    def fill(self, value: Any, path: tuple[str, ...]) -> Any:
        """The value of the key at ``path`` with all variables in it, however deep, replaced."""
        if isinstance(value, dict):
            return {key: self.fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item, (*path, str(i))) for i, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        # Inside a URL a password with '@' or '/' would change what the URL means.
        is_url = "://" in value
        return _VARIABLE.sub(lambda match: self._look_up(match[1], path, is_url=is_url), value)

    def _look_up(self, name: str, path: tuple[str, ...], *, is_url: bool) -> str:
        if not name.startswith(SECRET_PREFIX):
            self._refuse(path, f"{{{name}}}", f"an environment variable that begins with {SECRET_PREFIX}")
        elif not self.env.get(name):
            missing = "is empty in the environment" if name in self.env else "the environment does not have"
            self._refuse(
                path,
                f"{{{name}}}, which {missing}",
                f"{name} to be set (or: edge-runtime --env-file FILE ...)",
            )
        elif any(ord(char) < 32 or ord(char) == 127 for char in self.env[name]):
            at_end = " at its end (lines that end as on Windows?)" if self.env[name][-1] in "\r\n" else ""
            self._refuse(path, f"{{{name}}}, whose value has a control character{at_end}", "one line of text")
        else:
            return quote(self.env[name], safe="") if is_url else self.env[name]
        return f"{{{name}}}"

    def _refuse(self, path: tuple[str, ...], found: str, expected: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(_at(self.document, path, found, expected))


def _cross_problems(document: Document) -> Iterator[Problem]:
    """Problems between sections; found in raw data, so that they are reported with all others."""
    data = document.data
    models = data.get("models")
    cameras, sensors = (_mappings_in(data.get(section)) for section in ("cameras", "sensors"))
    yield from _canary_problems(document, models, {**cameras, **sensors})
    for section, streams, is_exclusive in (
        ("cameras", cameras, lambda path: kind_of(path) is CameraKind.DEVICE),
        ("sensors", sensors, lambda path: path == STANDARD_INPUT),
    ):
        for name, stream in streams.items():
            model = stream.get("model")
            if isinstance(models, dict) and isinstance(model, str) and model not in models:
                where = (section, name, "model")
                yield _at(document, where, f"no model {show(model)}", did_you_mean(model, models))
            if stream.get("path") == "mqtt" and not data.get("mqtt"):
                yield _at(document, (section, name, "path"), "'mqtt' without a broker", "a section 'mqtt'")
        yield from _problems_of_shared_paths(document, section, streams, is_exclusive)


def _mappings_in(section: Any) -> dict[str, dict[Any, Any]]:
    """The streams of a section that are mappings; another error says what is wrong with the others."""
    found = section.items() if isinstance(section, dict) else ()
    return {str(name): one for name, one in found if isinstance(one, dict)}


def _problems_of_shared_paths(
    document: Document, section: str, streams: Mapping[str, Any], is_exclusive: Callable[[str], bool]
) -> Iterator[Problem]:
    """A device, and standard input, are read by one stream only."""
    users: dict[str, str] = {}
    for name, stream in streams.items():
        path = stream.get("path")
        if not isinstance(path, str) or stream.get("enabled") is False or not is_exclusive(path):
            continue
        if path in users:
            found = f"{path}, which {section[:-1]} {users[path]!r} has open already"
            yield _at(document, (section, name, "path"), found, "each device once")
        users.setdefault(path, name)


def _canary_problems(document: Document, models: Any, running: Mapping[str, Any]) -> Iterator[Problem]:
    """The streams of a canary are those of its model, and not all: the active version needs some to compare with."""
    for model, section in models.items() if isinstance(models, dict) else ():
        streams: Any = section
        for key in ("rollout", "canary", "streams"):
            streams = streams.get(key) if isinstance(streams, dict) else None
        if not isinstance(streams, list) or not streams:
            continue
        path = ("models", str(model), "rollout", "canary", "streams")
        own = [name for name, one in running.items() if one.get("model") == model]
        for index, stream in enumerate(streams):
            if isinstance(stream, str) and stream not in own:
                found = f"no stream {show(stream)} of this model"
                yield _at(document, (*path, str(index)), found, did_you_mean(stream, own))
        if own and all(name in streams for name in own):
            yield _at(
                document, path, "all streams of the model", "some left to the active version, or a share"
            )


def _at(document: Document, path: tuple[str, ...], found: str, expected: str) -> Problem:
    return Problem(".".join(path), document.nearest_line(path), found, expected)


def fill_from_files(mqtt: MqttConfig, document: Document, problems: list[Problem]) -> MqttConfig:
    """Check that named files are there; fill the password, so that a new file is a new configuration."""
    for key in ("ca", "cert", "key") if mqtt.tls is not None else ():
        path: Path | None = getattr(mqtt.tls, key)
        if path is not None and not has_file(path):
            problems.append(_at(document, ("mqtt", "tls", key), f"no file {path}", "a PEM file"))
    if mqtt.password_file is None:
        return mqtt
    try:
        password = _read_password(mqtt.password_file)
    except (OSError, ValueError) as err:
        found = f"cannot read {mqtt.password_file} ({err})"
        problem = _at(document, ("mqtt", "password_file"), found, "one line of text")
        if isinstance(err, OSError) and err.errno in TRANSIENT:
            raise ConfigUnreadable(document.source, (problem,)) from err
        problems.append(problem)
        return mqtt
    return mqtt.model_copy(update={"password": SecretStr(password)})


def _http_problems(http: HttpConfig, document: Document) -> Iterator[Problem]:
    for key in ("cert", "key") if http.tls is not None else ():
        path: Path = getattr(http.tls, key)
        if not has_file(path):
            yield _at(document, ("http", "tls", key), f"no file {path}", "a PEM file")
    for name, one in http.tokens.items():
        try:
            read_token(one.file)
        except (OSError, ValueError) as err:
            found = f"cannot be read ({err.strerror})" if isinstance(err, OSError) else "no token in it"
            where = ("http", "tokens", name, "file")
            yield _at(document, where, f"{one.file}: {found}", TOKEN_EXPECTED)


def _tracking_problems(config: Config, document: Document) -> Iterator[Problem]:
    """A camera is opened where nothing can fail, so the library is looked for here."""
    for name, camera in config.cameras.items():
        if camera.tracking is not None and find_spec(TRACKER) is None:
            expected = "the extra 'tracking': pip install 'edge-runtime[tracking]'"
            yield _at(document, ("cameras", name, "tracking"), "no library for it is installed", expected)


def has_file(path: Path) -> bool:
    """Whether there is a file that can be looked at."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _read_password(path: Path) -> str:
    raw = read_regular(path, MAX_SECRET_BYTES + 1)
    if len(raw) > MAX_SECRET_BYTES:
        raise ValueError(f"more than {MAX_SECRET_BYTES} bytes")
    text = raw.decode("utf-8").rstrip("\r\n")
    if not text or any(ord(c) < 32 for c in text):
        raise ValueError("empty, or more than one line")
    return text
