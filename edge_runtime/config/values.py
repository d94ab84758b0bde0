"""The kinds of value a configuration holds: names, paths, camera addresses, numbers, cron lines.

Each is an annotated type that refuses what it cannot be, with words for a person. No section of the
configuration lives here (see ``shape``); nothing here opens a file, a socket or a device.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from edge_runtime.config.install_sources import BadAddress, parse_prefix
from edge_runtime.system.camera_address import BadCameraAddress, CameraAddress
from edge_runtime.system.redaction import redact_url
from edge_runtime.system.sensor_address import BadSensorAddress, SensorAddress

NAME_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
BASELINE_PATTERN = r"^[a-z0-9-]{1,32}$"
DEVICE_PATTERN = r"^[A-Za-z][A-Za-z0-9_.:,()-]{0,63}$"
MAX_PATH_LENGTH = 2048
MAX_TOPIC_BYTES = 1024


def refusal(expected: str, found: str | None = None) -> PydanticCustomError:
    """The error a validator raises; without ``found`` the value is shown as the file has it, unfilled."""
    context: dict[str, Any] = {"expected": expected}
    if found is not None:
        context["found"] = found
    return PydanticCustomError("refused", "expected {expected}", context)


def check_form(pattern: str, expected: str) -> Callable[[str], str]:
    """A validator of text that has a form as a whole."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise refusal(expected)
        return value

    return check


_check_name = check_form(
    NAME_PATTERN, "1 to 64 letters, digits, '_' or '-' (it becomes a level of MQTT topics)"
)


def _clean_text(value: str) -> str:
    if not value.strip() or any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise refusal("text without line breaks or control characters")
    return value


def _resolve(value: Path, info: ValidationInfo) -> Path:
    """Relative paths count from the folder of the configuration file, not from the working directory."""
    _clean_text(str(value))
    base = (info.context or {}).get("base")
    if value.is_absolute() or base is None:
        return value
    # Leading '..' are taken off here, so that pages and logs show where it really is; behind a name they stay, since
    # that may be a link. The base has none in it (``load``).
    folder, parts = Path(base), list(value.parts)
    while parts and parts[0] == ".." and folder.is_absolute():
        folder, parts = folder.parent, parts[1:]
    return folder.joinpath(*parts)


def _check_camera_path(value: str, info: ValidationInfo) -> str:
    if len(value) > MAX_PATH_LENGTH:
        raise refusal(f"at most {MAX_PATH_LENGTH} characters", found=f"{len(value)} characters")
    try:
        path = CameraAddress(value).local_path
        return value if path is None else CameraAddress(str(_resolve(path, info))).text
    except BadCameraAddress as err:
        raise refusal(err.expected) from err


def _check_sensor_path(value: str, info: ValidationInfo) -> str:
    if len(value) > MAX_PATH_LENGTH:
        raise refusal(f"at most {MAX_PATH_LENGTH} characters", found=f"{len(value)} characters")
    try:
        path = SensorAddress(value).local_path
    except BadSensorAddress as err:
        raise refusal(err.expected) from err
    return value if path is None else str(_resolve(path, info))


def _check_topic(value: str) -> str:
    """Brokers keep topics that begin with '$' for themselves."""
    is_text = all(
        char not in "+#" and 32 <= ord(char) < 0xD800 and not 127 <= ord(char) < 160 for char in value
    )
    if not value or not is_text or value.startswith("$") or len(value.encode()) > MAX_TOPIC_BYTES:
        raise refusal(f"a topic of 1 to {MAX_TOPIC_BYTES} bytes without '+', '#' and a leading '$'")
    return value


def _check_bundle(value: str, info: ValidationInfo) -> str:
    _clean_text(value)
    if value.startswith("demo:"):
        _check_name(value.removeprefix("demo:"))
        return value
    if "/" in value:
        return str(_resolve(Path(value), info))
    return _check_name(value)


def _check_cron(value: str) -> str:
    if len(value) > 200 or len(value.split()) != 5:
        raise refusal("5 cron fields: minute hour day month weekday, e.g. '0 3 * * *'")
    try:
        next(CronSim(value, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as err:
        raise refusal(f"a cron line that comes round ({err or 'this one never does'})") from err
    return value


_HOST = "a host name or IP address, without scheme, port or spaces"
_check_host_form = check_form(r"[A-Za-z0-9._:%-]{1,253}", _HOST)


def _check_host(value: str) -> str:
    """Colons are in IPv6 addresses only; a port has its own key."""
    if re.fullmatch(r"\[?[^\[\]@/\s]+\]?:[0-9]{1,5}", value) and not _is_address(value):
        raise refusal(f"{_HOST}; the port goes into the key 'port'")
    if value.startswith("[") and value.endswith("]") and _is_address(value[1:-1]):
        raise refusal(f"{_HOST}; an IPv6 address without brackets")
    _check_host_form(value)
    if ":" in value and not _is_address(value):
        raise refusal(_HOST)
    return value


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _check_install_source(value: str) -> str:
    try:
        return str(parse_prefix(value))
    except BadAddress as err:
        raise refusal(
            f"the beginning of an address, such as oci://registry.example/lines/ (it has {err})",
            found=redact_url(value),
        ) from err


def _check_picture_source(value: str) -> str:
    try:
        found = parse_prefix(value)
    except BadAddress as err:
        raise refusal(
            f"the beginning of an address, such as https://pictures.example/ (it has {err})",
            found=redact_url(value),
        ) from err
    if found.scheme == "oci":
        raise refusal(
            "the beginning of an address, such as https://pictures.example/", found=redact_url(value)
        )
    return str(found)


def _check_prefix(value: str) -> str:
    if not all(re.fullmatch(NAME_PATTERN, level) for level in value.split("/")) or len(value) > 200:
        raise refusal("topic levels of letters, digits, '_' or '-', joined by '/'")
    return value


Name = Annotated[
    str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})
]
BaselineName = Annotated[
    str,
    AfterValidator(check_form(BASELINE_PATTERN, "1 to 32 of a-z, 0-9 and '-', e.g. night")),
    WithJsonSchema({"type": "string", "pattern": BASELINE_PATTERN}),
]
DeviceName = Annotated[
    str,
    AfterValidator(check_form(DEVICE_PATTERN, "the name of a device, e.g. CPU, CUDA, GPU.1, AUTO:GPU,CPU")),
    WithJsonSchema({"type": "string", "pattern": DEVICE_PATTERN}),
]
Text = Annotated[str, AfterValidator(_clean_text)]
Host = Annotated[str, AfterValidator(_check_host)]
InstallSource = Annotated[str, AfterValidator(_check_install_source)]
PictureSource = Annotated[str, AfterValidator(_check_picture_source)]
TopicPrefix = Annotated[str, AfterValidator(_check_prefix)]
CronLine = Annotated[str, AfterValidator(_check_cron)]
FilePath = Annotated[Path, AfterValidator(_resolve), WithJsonSchema({"type": "string"})]
CameraPath = Annotated[str, AfterValidator(_check_camera_path)]
SensorPath = Annotated[str, AfterValidator(_check_sensor_path)]
Topic = Annotated[str, AfterValidator(_check_topic)]
BundleRef = Annotated[str, AfterValidator(_check_bundle)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 30)]
