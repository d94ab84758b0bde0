"""User and password of a registry, as docker and podman keep them: ``config.json``, and its helper programs.

``docker login`` and ``podman login`` write them. A password that was read is hidden from then on in all that this
process logs.
"""

import base64
import binascii
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calibration.stats.regular_file import read_regular
from edge_runtime.errors import RegistryRefused
from edge_runtime.system.redaction import PROCESS

MAX_BYTES = 1024 * 1024
HELPER_TIMEOUT_S = 30.0
_HELPER_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_NO_ENTRY = "credentials not found"
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry asks for; the password is not shown when this is printed."""

    user: str
    password: str = field(repr=False)


class _Entry(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _File(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    auths: dict[str, _Entry] = {}
    credsStore: Annotated[str, Field(pattern=_HELPER_NAME)] | None = None  # noqa: N815 - docker's words
    credHelpers: dict[str, Annotated[str, Field(pattern=_HELPER_NAME)]] = {}  # noqa: N815


def find_credentials(host: str, env: Mapping[str, str]) -> Credentials | None:
    """The credentials of a registry; None where there are none.

    Args:
        host: With its port, where it has one.
        env: ``REGISTRY_AUTH_FILE`` names the file; else it is ``config.json`` in ``DOCKER_CONFIG`` or ``~/.docker``.

    Raises:
        RegistryRefused: the file cannot be used, or its helper program fails.
    """
    path = _find_file(env)
    try:
        data = read_regular(path, MAX_BYTES + 1)
    except OSError as err:
        if isinstance(err, FileNotFoundError) and "REGISTRY_AUTH_FILE" not in env:
            return None
        raise RegistryRefused(host, f"{path} cannot be read: {err.strerror or err}") from err
    try:
        kept = _File.model_validate(json.loads(data[:MAX_BYTES]))
        found = _look_up(kept, host)
    except (ValueError, ValidationError, RecursionError, binascii.Error) as err:
        # not in the text: what is wrong may be a password
        raise RegistryRefused(host, f"{path} is not as docker or podman write it") from err
    if found is not None:
        PROCESS.learn([found.password])
    return found


def _find_file(env: Mapping[str, str]) -> Path:
    if named := env.get("REGISTRY_AUTH_FILE"):
        return Path(named)
    folder = env.get("DOCKER_CONFIG") or str(Path(env.get("HOME", "/")) / ".docker")
    return Path(folder) / "config.json"


def _look_up(kept: _File, host: str) -> Credentials | None:
    names = _DOCKER_HUB if host in _DOCKER_HUB else (host,)
    forms = [form for name in names for form in (name, f"https://{name}", f"https://{name}/v1/")]
    helper = next((kept.credHelpers[form] for form in forms if form in kept.credHelpers), kept.credsStore)
    entry = next((kept.auths[form] for form in forms if form in kept.auths), None)
    if entry is not None and (entry.auth or entry.username or entry.identitytoken):
        return _decode(entry, host)
    return None if helper is None else _ask(helper, host)


def _decode(entry: _Entry, host: str) -> Credentials:
    if entry.identitytoken:
        raise RegistryRefused(
            host, "an identity token is kept, which is not supported; log in with a password"
        )
    if not entry.auth:
        return Credentials(entry.username, entry.password)
    user, colon, password = base64.b64decode(entry.auth, validate=True).decode().partition(":")
    if not colon:
        raise ValueError("no user:password")
    return Credentials(user, password.rstrip("\0"))


def _ask(helper: str, host: str) -> Credentials | None:
    """A helper program prints JSON; it says "credentials not found" on standard output where it has none."""
    command = [f"docker-credential-{helper}", "get"]
    try:
        done = subprocess.run(
            command, input=host.encode(), capture_output=True, timeout=HELPER_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise RegistryRefused(host, f"{command[0]} cannot be asked for credentials") from err
    if done.returncode != 0:
        if _NO_ENTRY in done.stdout[:MAX_BYTES].decode(errors="replace").lower():
            return None
        raise RegistryRefused(host, f"{command[0]} failed with {done.returncode}")
    answer = json.loads(done.stdout)
    return Credentials(str(answer["Username"]), str(answer["Secret"]))
