"""Notes of models that opened in the first process, so that the next start need not do it again."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from calibration.stats.regular_file import read_whole
from edge_runtime.errors import StateError
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.own_folder import make_folder, remove
from edge_runtime.system.sandbox import Protection

KEPT = 64


@dataclass(frozen=True, slots=True)
class PassedModels:
    """The keys of models that opened in the child before, one small file each in a folder of the daemon's state.

    A bundle cannot get there: it is data below another folder, and a key names its bytes.
    """

    folder: Path
    may_write: bool = True

    def find(self, key: str) -> Protection | None:
        """How the child was protected when this passed; None: it did not, or that cannot be read."""
        try:
            noted = json.loads(read_whole(self.folder / key, 1024))
            return Protection(int(noted["landlock_abi"]), bool(noted["has_seccomp"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, key: str, protection: Protection) -> None:
        """Remember it; a disk that refuses only costs the next start its time."""
        if not self.may_write:
            return
        with suppress(OSError, StateError):
            make_folder(self.folder)
            oldest_first = sorted(self.folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for path in oldest_first[: -KEPT + 1]:
                remove(path, below=self.folder)
            write_atomically(self.folder / key, json.dumps(asdict(protection)).encode())
