"""The kinds of sensor: where samples come from, and how each kind behaves. No device or file is touched."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

EXPECTED = "'mqtt'; a file or folder; or '-' for standard input"
MQTT, STANDARD_INPUT = "mqtt", "-"


class SensorKind(StrEnum):
    """The kind of source behind an address."""

    MQTT = "mqtt"
    STANDARD_INPUT = "standard_input"
    FILE = "file"
    """A file of samples or a folder of messages; the disk knows which."""

    @property
    def may_idle(self) -> bool:
        """Whether silence is normal."""
        return self is SensorKind.FILE


class BadSensorAddress(ValueError):
    """The text is no address of a sensor."""

    def __init__(self, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected


@dataclass(frozen=True, slots=True)
class SensorAddress:
    """An allowed address of a sensor.

    Raises:
        BadSensorAddress: empty, a URL, a device, or control characters.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what is no file."""
        is_text = bool(self.text.strip()) and all(ord(c) >= 32 and ord(c) != 127 for c in self.text)
        is_device = self.text.startswith("/dev/") and not self.text.startswith("/dev/shm/")  # noqa: S108
        if not is_text or "://" in self.text or is_device:
            raise BadSensorAddress(EXPECTED)

    @property
    def kind(self) -> SensorKind:
        """The kind of source behind it."""
        if self.text == MQTT:
            return SensorKind.MQTT
        return SensorKind.STANDARD_INPUT if self.text == STANDARD_INPUT else SensorKind.FILE

    @property
    def local_path(self) -> Path | None:
        """Where the file or folder is; None when it is neither."""
        return Path(self.text) if self.kind is SensorKind.FILE else None
