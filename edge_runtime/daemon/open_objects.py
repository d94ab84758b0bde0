"""The objects that were announced and have not ended, in a file: a kill of the daemon leaves none open for ever."""

from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import ValidationError

from edge_runtime.errors import StateError
from edge_runtime.inference.tracking.life import ObjectState
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.lazy_adapter import LazyAdapter

FILE = "objects.json"


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object on a stream, as it was when it was written."""

    stream: str
    model: str
    state: ObjectState


_OBJECTS: LazyAdapter[list[OpenObject]] = LazyAdapter(list[OpenObject])


class OpenObjects:
    """The file; used by one thread."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def read(self) -> list[OpenObject]:
        """Those that the daemon before this one left open; empty where there is no file.

        Raises:
            StateError: the file cannot be read, or is damaged.
        """
        try:
            data = self.path.read_bytes()
            return _OBJECTS.adapter.validate_json(data)
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as err:
            reason = err.strerror if isinstance(err, OSError) else "it is damaged"
            raise StateError(f"cannot read {self.path}: {reason}") from err

    def write(self, objects: list[OpenObject]) -> None:
        """Replace the file.

        Raises:
            StateError: the disk refuses.
        """
        write_atomically(self.path, orjson.dumps(objects))
