"""What became of the versions of one model: every step of every rollout, bounded in number, in one file.

``<state_dir>/models/<model>/rollouts.json``: a list of steps, oldest first.
"""

from pathlib import Path
from typing import Any

import orjson
import structlog

from calibration.stats.regular_file import read_whole
from edge_runtime.errors import StateError
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()

HISTORY_FILE = "rollouts.json"
MOST_STEPS = 200
LARGEST_BYTES = 2**22


class RolloutHistory:
    """The steps of one model; a disk that refuses costs the file, never a rollout."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / HISTORY_FILE
        self._steps = self._load()

    def add(self, step: dict[str, Any]) -> None:
        """Remember one more."""
        self._steps = [*self._steps, step][-MOST_STEPS:]
        try:
            write_atomically(self._path, encode_object(self._steps))
        except StateError as err:
            log.warning("step of a rollout not kept", path=str(self._path), reason=str(err))

    def steps(self) -> list[dict[str, Any]]:
        """All that are kept, oldest first."""
        return list(self._steps)

    def _load(self) -> list[dict[str, Any]]:
        try:
            found = orjson.loads(read_whole(self._path, LARGEST_BYTES))
            return [step for step in found if isinstance(step, dict)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as err:
            log.warning(
                "history of rollouts damaged: it is begun anew", path=str(self._path), reason=str(err)
            )
            return []
