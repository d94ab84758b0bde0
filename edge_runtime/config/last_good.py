"""Keeps the text of the configuration that was in force last, so that a box can start with it.

A box whose last edit was refused goes on; after a power cut it would find only that edit, and no person to mend it. The
copy lies in the state directory, readable for the daemon's user only.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from calibration.stats.regular_file import read_regular
from edge_runtime.config.load import parse_config, resolve_links, secrets_of
from edge_runtime.config.parts import load_state_dir, restrict_by_refused
from edge_runtime.config.shape import Config
from edge_runtime.config.strict_yaml import MAX_BYTES, load
from edge_runtime.errors import ConfigError, StateError
from edge_runtime.system.atomic_file import write_atomically

_DEFAULT = Config.model_fields["state_dir"].default


def keep_last_good(config: Config, path: Path) -> None:
    """Remember that ``config``, read from ``path``, is in force.

    A text with a password in it is not kept: the state directory holds no secrets.

    Raises:
        StateError: there is a password in it, or the disk refuses; no earlier copy is left in the first case.
    """
    copy = _copy_of(path, config.state_dir)
    if holds_password(config):
        with suppress(OSError):
            copy.unlink(missing_ok=True)
        raise StateError("it holds a password; write {EDGE_NAME} for it, or use password_file")
    if config.text and read_last_good(path, config.state_dir) != config.text:
        write_atomically(copy, config.text)


def read_last_good(path: Path, state_dir: Path) -> bytes | None:
    """The text that is kept for a file in one state directory; None when there is none, or it cannot be read."""
    try:
        return read_regular(_copy_of(path, state_dir), MAX_BYTES + 1)
    except OSError:
        return None


def restore_last_good(path: Path, state_dir: Path, text: bytes | None) -> None:
    """Put back what :func:`read_last_good` gave.

    Raises:
        StateError: the disk refuses.
    """
    copy = _copy_of(path, state_dir)
    if text is not None:
        write_atomically(copy, text)
        return
    try:
        copy.unlink(missing_ok=True)
    except OSError as err:
        raise StateError(f"cannot remove {copy}: {err.strerror}") from err


def holds_password(config: Config) -> bool:
    """Whether a password stands in the text that it was read from."""
    passwords = secrets_of(config, {})
    if not passwords:
        return False
    forms = {form for one in passwords for form in (one, quote(one), quote(one, safe=""))}
    text = config.text.decode("utf-8-sig", "replace")
    return any(form in written for written in (text, *_values_in(text)) for form in forms)


def _values_in(text: str) -> Iterator[str]:
    """As YAML reads them: escapes, and a value over several lines, hide one from a search in the text."""
    with suppress(ConfigError):
        waiting = [load(text, "").data]
        while waiting:
            value = waiting.pop()
            if isinstance(value, Mapping):
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value
            else:
                yield str(value)


def find_last_good(path: Path, env: Mapping[str, str]) -> Config | None:
    """The configuration that was in force last; None when there is none, or it cannot be used any more.

    What the file says of ``trust``, and takes away in ``commands``, counts as far as that can be read. The state
    directory is the one that the file names, as far as that can be read, else the service's (``STATE_DIRECTORY``,
    systemd.exec(5)), else the default.
    """
    for text in _find_texts(path, env):
        try:
            own_file, source = resolve_links(path), f"{path} (as it was in force last)"
            # A key that was revoked in the file must not come back here.
            adjust = partial(restrict_by_refused, path, env)
            return parse_config(text, source, env, base=own_file.parent, own_file=own_file, adjust=adjust)
        except ConfigError:
            continue
    return None


def find_last_good_text(path: Path, env: Mapping[str, str]) -> bytes | None:
    """The text of that configuration, also when it cannot be used any more; None when there is none."""
    return next(_find_texts(path, env), None)


def _find_texts(path: Path, env: Mapping[str, str]) -> Iterator[bytes]:
    for state_dir in find_state_dirs(path, env):
        text = read_last_good(path, state_dir)
        if text is not None:
            yield text


def find_state_dirs(path: Path, env: Mapping[str, str]) -> list[Path]:
    """Where a daemon with this file may keep its state, the likeliest first; at least one, also for a broken file."""
    try:
        named = load_state_dir(path, env)
    except ConfigError:
        named = None
    service = env.get("STATE_DIRECTORY", "").partition(":")[0]
    found = [named, Path(service) if service else None, _DEFAULT]
    return [folder for folder in dict.fromkeys(found) if folder is not None]


def _copy_of(path: Path, state_dir: Path) -> Path:
    """One for each file: several may name the same state directory, one after the other."""
    return state_dir / "last-good" / f"{name_of_file(path)}.yaml"


def name_of_file(path: Path) -> str:
    """What stands for a configuration file in a state directory."""
    return hashlib.sha256(str(resolve_links(path)).encode()).hexdigest()[:16]
