"""What a step of the trial finds wrong."""

from dataclasses import dataclass
from typing import Any

from benchmarks.commands.remote.office import Office
from benchmarks.commands.remote.site import EdgeBox, Hub


class Wrong(Exception):
    """A command had another answer or effect than it should have."""


@dataclass(frozen=True, slots=True)
class Place:
    """The three machines."""

    hub: Hub
    office: Office
    box: EdgeBox


def require(is_so: object, found: object) -> None:
    """Check what was found.

    Raises:
        Wrong: it is not so.
    """
    if not is_so:
        raise Wrong(str(found)[:1000])


def data_of(answer: dict[str, Any]) -> dict[str, Any]:
    """What a good answer says.

    Raises:
        Wrong: the box refused the command.
    """
    require(answer["status"] == "ok", answer)
    data: dict[str, Any] = answer["data"]
    return data
