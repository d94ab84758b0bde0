"""The text of a first configuration: only what differs from the defaults, with a comment on each line. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from edge_runtime.system.camera_address import CameraKind, kind_of

_HAS_PORT = re.compile(r"^[^:]+:\d+$|^\[.*\]:\d+$")
"""An IPv6 address has colons of its own; with a port it is in brackets."""
BROKER_PASSWORD = "EDGE_MQTT_PASSWORD"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Draft:
    """What was asked for."""

    device: str
    state_dir: Path
    bundle: str
    cameras: Mapping[str, str]
    """Addresses by name; passwords in them are variables already."""
    port: int
    broker: str | None = None
    """HOST or HOST:PORT."""
    user: str | None = None
    ca: Path | None = None
    variables: tuple[str, ...] = field(default=())
    """Of the environment, for the passwords of cameras."""
    hints: Mapping[str, str] = field(default_factory=dict)
    """Likely addresses of cameras on the network, and what these call themselves."""
    sensor: str | None = None
    """Path of the one sensor of a model of signals; None: there are cameras."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """All variables that must be set before the daemon starts."""
        return (*((BROKER_PASSWORD,) if self.user is not None else ()), *self.variables)


def hide_password(name: str, address: str) -> tuple[str, str | None]:
    """The address with a variable in place of its password, and the name of that variable; None without a password."""
    try:
        password = urlsplit(address).password if "://" in address else None
    except ValueError:  # refused later, with its reason
        return address, None
    if not password or re.fullmatch(r"\{EDGE_[A-Z0-9_]+\}", password):
        return address, None
    variable = f"EDGE_CAMERA_{re.sub('[^A-Z0-9]', '_', name.upper())}_PASSWORD"
    login, mark, rest = address.partition(f":{password}@")
    return f"{login}:{{{variable}}}@{rest}" if mark else address, variable


def write_text(draft: Draft) -> str:
    """The configuration as commented YAML."""
    model = (
        re.sub(r"[^A-Za-z0-9_-]", "-", draft.bundle.rstrip("/").rpartition("/")[2].rpartition(":")[2])
        or "model"
    )
    lines = [
        "# Every key with its meaning: docs/configuration.md. Check an edit before it counts: edge-runtime check FILE",
        "# What is wrong with the box: edge-runtime doctor FILE",
        *(
            f"# Set {name} in the environment, or in a file for edge-runtime --env-file"
            for name in draft.secrets
        ),
        "",
        f"device: {_scalar(draft.device)}  # part of every topic: edge/{draft.device}/result/CAMERA",
        f"state_dir: {_scalar(str(draft.state_dir))}  # patches, baselines, results that wait; survives restarts",
        "",
        "models:",
        f"  {_scalar(model)}:",
        f"    bundle: {_scalar(draft.bundle)}  # demo:NAME, a folder (with a /), or a name below state_dir/bundles",
        "",
    ]
    lines += (
        _write_cameras(draft, _scalar(model))
        if draft.sensor is None
        else _write_sensor(draft, _scalar(model))
    )
    lines += ["", *_write_broker(draft), "", *_write_rest(draft)]
    return "\n".join(lines) + "\n"


def _write_sensor(draft: Draft, model: str) -> list[str]:
    return [
        "sensors:",
        "  sensor1:",
        f"    path: {_scalar(str(draft.sensor))}  # mqtt, a file, a folder, or '-' for standard input",
        f"    model: {model}",
        "    # topic: plant/pump/accel  # mqtt: else edge/DEVICE/signal/sensor1",
        "    # payload: {format: csv}  # only what differs from the bundle",
    ]


def _write_cameras(draft: Draft, model: str) -> list[str]:
    lines = ["cameras:"]
    for name, address in draft.cameras.items():
        lines += [f"  {_scalar(name)}:", f"    path: {_scalar(address)}", f"    model: {model}"]
        if kind_of(address) is CameraKind.FILE:
            lines += [
                "    # loop: true  # else it is played once, and the daemon ends when all files have been"
            ]
        lines += ["    # fps: 10  # at most so many pictures a second"]
        lines += ["    # snapshots: true  # its pictures on the status page: they leave the box"]
    return lines + _write_hints(draft.hints, model)


def _write_hints(hints: Mapping[str, str], model: str) -> list[str]:
    """Cameras of the network as comments: which stream they have, and their passwords, only a person knows."""
    if not hints:
        return []
    lines = [
        "  # Found on the network. The path of the stream is a guess by the name; the manual of the camera has it."
    ]
    for number, (address, name) in enumerate(hints.items(), 1):
        variable = f"EDGE_NETWORK{number}_PASSWORD"
        with_login = address.replace("rtsp://", f"rtsp://USER:{{{variable}}}@", 1)
        lines += [f"  # network{number}:  # {name or 'without a name'}"]
        lines += [f"  #   path: {_scalar(with_login)}", f"  #   model: {model}"]
    return lines


def _write_broker(draft: Draft) -> list[str]:
    if draft.broker is None:
        return [
            "# Without a broker results are lines of state_dir/results.jsonl. With one, and commands from afar:",
            "# mqtt: {host: broker.example, commands: true}",
        ]
    place = re.fullmatch(r"\[?([^\[\]]*?)\]?:(\d+)", draft.broker) if _HAS_PORT.search(draft.broker) else None
    lines = ["mqtt:", f"  host: {_scalar(place[1] if place is not None else draft.broker.strip('[]'))}"]
    if place is not None:
        lines.append(f"  port: {place[2]}")
    if draft.user is not None:
        lines += [
            f"  user: {_scalar(draft.user)}",
            f'  password: "{{{BROKER_PASSWORD}}}"  # never in this file',
        ]
    if draft.ca is not None:
        lines.append(f"  tls: {{ca: {_scalar(str(draft.ca))}}}  # the port becomes 8883 unless it is written")
    return [
        *lines,
        "  commands: true  # obey those who may write to edge/DEVICE/request/VERB; see docs/commands.md",
    ]


def _write_rest(draft: Draft) -> list[str]:
    if draft.broker is None:
        begin = [
            "# The first pictures after the start are taken as healthy; better: a broker and send commission."
        ]
        begin += ["# recalibration: {commission: {automatic: true}}"]
    else:
        begin = [
            "# Nothing is recalibrated before: edge-runtime send commission --config FILE, while all is healthy."
        ]
    return [*begin, "", "http:", f"  port: {draft.port}  # status page, for this machine only"]


def _scalar(text: str) -> str:
    """A plain word where YAML reads it as text; else in JSON's quotes, which are YAML too."""
    is_plain = re.fullmatch(r"[A-Za-z_/.][A-Za-z0-9_/.-]*", text) is not None
    is_word = text.lower() not in (
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "null",
        "y",
        "n",
        ".nan",
        ".inf",
    )
    return text if is_plain and is_word else json.dumps(text, ensure_ascii=False)
