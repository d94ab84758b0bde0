"""What the daemon and the recalibration process say to each other."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from edge_runtime.errors import StateError
from edge_runtime.messaging.events import RecalibrationReport

_REPORT = TypeAdapter(RecalibrationReport)


def parse_report(data: dict[str, Any]) -> RecalibrationReport:
    """The report of a recalibration.

    Raises:
        StateError: a field is missing or of another type.
    """
    try:
        return _REPORT.validate_python(data)
    except ValidationError as err:
        raise StateError(f"the report of a recalibration cannot be read: {err}") from err
