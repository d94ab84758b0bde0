"""The systemd unit: does its sandbox let the daemon reach what the configuration names?"""

import pwd
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from edge_runtime.cli.doctor.finding import Finding, fine, note, problem
from edge_runtime.config import Config
from edge_runtime.errors import ExitCode
from edge_runtime.system.camera_address import CameraKind

UNIT = "edge-runtime.service"
_KEYS = (
    "LoadState", "ActiveState", "Result", "NRestarts", "ProtectSystem", "ProtectHome", "PrivateTmp", "StateDirectory",
    "ReadWritePaths", "DevicePolicy", "DeviceAllow", "User", "DynamicUser", "SupplementaryGroups",
)  # fmt: skip
_ANSWER_S = 4.0
_HOMES = tuple(map(Path, ("/home", "/root", "/run/user")))
_TEMPORARY = tuple(map(Path, ("/tmp", "/var/tmp")))  # noqa: S108 - named, not used
_PLAIN = ("CPU", "AUTO")


def examine_service(config: Config, ask: Callable[[], "Unit"]) -> Iterator[Finding]:
    """Look at the unit, where there is one."""
    unit = ask()
    if unit.is_slow:
        found = f"systemctl gave no answer in {_ANSWER_S:g} s; the unit was not looked at"
        yield note("service.slow", found, "systemctl status; when that hangs too, start the box anew")
    elif unit.properties is None:
        yield fine("service", "no systemd answers here")
    else:
        yield from judge_unit(unit.properties, config)


def find_unit_user(found: "Unit") -> str | None:
    """The user that the unit names, where that is one of the system: one that systemd makes up has no files yet."""
    unit = found.properties or {}
    name = unit.get("User")
    if not name or unit.get("DynamicUser") == "yes" or unit.get("LoadState") != "loaded":
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:  # then the unit fails, which is another finding
        return None


class Unit(NamedTuple):
    """What systemd says of the unit."""

    properties: Mapping[str, str] | None
    """None where no systemd runs, or it is slow."""
    is_slow: bool = False
    """It gave no answer."""


def ask_systemd() -> Unit:
    """Takes four seconds at most, also where systemd hangs."""
    try:
        answer = subprocess.run(
            ["systemctl", "show", UNIT, *(f"--property={key}" for key in _KEYS)],
            capture_output=True, text=True, timeout=_ANSWER_S, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Unit(None, is_slow=True)
    except (OSError, subprocess.SubprocessError):
        return Unit(None)
    return Unit(read_properties(answer.stdout))


def read_properties(text: str) -> dict[str, str]:
    """``Key=value`` lines as a mapping; of a key that comes more than once the values are joined by blanks."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        found[key] = f"{found[key]} {value}" if key in found else value
    return found


def judge_unit(unit: Mapping[str, str], config: Config) -> Iterator[Finding]:
    """Findings of a unit's properties, as systemd names them."""
    if unit.get("LoadState") != "loaded":
        yield fine("service", f"there is no {UNIT}")
        return
    state = unit.get("ActiveState", "")
    if state == "failed" or int(unit.get("NRestarts") or 0) > 2:
        found = f"{UNIT} is {state} ({unit.get('Result')}) and was restarted {unit.get('NRestarts')} times"
        yield problem("service.failed", found, f"journalctl -u {UNIT} -p warning -n 50", ExitCode.UNAVAILABLE)
    yield from _judge_folders(unit, config)
    yield from _judge_devices(unit, config)
    yield fine("service", f"{UNIT} is {state}")


def _judge_folders(unit: Mapping[str, str], config: Config) -> Iterator[Finding]:
    writable = [Path("/var/lib", name) for name in unit.get("StateDirectory", "").split()]
    writable += [Path(text.lstrip("-+")) for text in unit.get("ReadWritePaths", "").split()]
    for what, path in (("state_dir", config.state_dir), ("sink.path", config.sink_path())):
        if path is not None and unit.get("ProtectSystem") == "strict" and not _is_below(path, writable):
            found = f"{what} {path} is outside of what {UNIT} may write"
            yield problem(
                "service.folder",
                found,
                f"ReadWritePaths={path.parent} in a drop-in of the unit",
                ExitCode.CONFIG,
            )
    for name, stream in config.streams.items():
        path, kind = stream.address.local_path, config.section_of(name)[:-1]
        if path is None or not stream.enabled:
            continue
        if unit.get("ProtectHome") in ("yes", "tmpfs") and _is_below(path, _HOMES):
            found = f"{kind} {name}: {UNIT} cannot see {path}, which is in a home folder"
            yield problem(
                "service.folder",
                found,
                "move it to /srv, or ProtectHome=read-only in a drop-in",
                ExitCode.CONFIG,
            )
        if unit.get("PrivateTmp") == "yes" and _is_below(path, _TEMPORARY):
            found = f"{kind} {name}: {UNIT} has a folder {path.parts[1]} of its own, without {path}"
            yield problem("service.folder", found, "move it to /srv", ExitCode.CONFIG)


def _judge_devices(unit: Mapping[str, str], config: Config) -> Iterator[Finding]:
    if unit.get("DevicePolicy") not in ("closed", "strict"):
        return
    allowed = unit.get("DeviceAllow", "")
    kinds = {camera.address.kind for camera in config.cameras.values() if camera.enabled}
    if CameraKind.DEVICE in kinds and "video" not in allowed:
        found = f"{UNIT} may not open cameras"
        yield problem(
            "service.device", found, "DeviceAllow=char-video4linux rw in a drop-in", ExitCode.CONFIG
        )
    yield from _judge_groups(unit, config)
    for name, model in config.models.items():
        special = [one for one in model.engine.devices if not one.upper().startswith(_PLAIN)]
        if special and "drm" not in allowed and "nvidia" not in allowed:
            found = f"model {name}: {UNIT} may not open the device of {', '.join(special)}"
            yield note("service.device", found, "install the drop-in edge-runtime.service.d/gpu.conf")


def _judge_groups(unit: Mapping[str, str], config: Config) -> Iterator[Finding]:
    """Of a user that systemd makes up, the groups of the unit are the only ones."""
    if unit.get("DynamicUser") != "yes":
        return
    for name, camera in config.cameras.items():
        path = camera.address.local_path
        if path is None or camera.address.kind is not CameraKind.DEVICE or not camera.enabled:
            continue
        group = find_group(path)
        if group is not None and group not in unit.get("SupplementaryGroups", "").split():
            found = f"camera {name}: {path} is of the group {group}, in which {UNIT} is not"
            yield problem(
                "service.device", found, f"SupplementaryGroups={group} in a drop-in", ExitCode.CONFIG
            )


def find_group(path: Path) -> str | None:
    """The group of a device; None when it is not there."""
    try:
        return path.group()
    except (OSError, KeyError):
        return None


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)
