"""Since which version each name of the contract is there, and which names are promised.

``docs/reference/since.json`` remembers it: what the types have and the file has not is new, and what the file has and
the types have not was taken away.
"""

import json
import re
from pathlib import Path

from edge_runtime import __version__

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "docs" / "reference" / "since.json"
NEXT = "next"
"""Of names that no release has yet."""


class Since:
    """Looks names up, and keeps them."""

    def __init__(self, path: Path = PATH, changelog: Path = ROOT / "CHANGELOG.md") -> None:
        heading = re.search(r"^## \[(.*?)\]", changelog.read_text("utf-8"), re.MULTILINE)
        is_released = heading is not None and heading[1] == __version__
        self._current = __version__ if is_released else NEXT
        known: dict[str, list[str]] = json.loads(path.read_text("utf-8"))
        self.known = {name: version for version, names in known.items() for name in names}
        self._used: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The version that it came with."""
        version = self.known.get(name, NEXT)
        self._used[name] = self._current if version == NEXT else version
        return self._used[name]

    @property
    def removed(self) -> set[str]:
        """Names of releases that nothing asked for."""
        return {name for name, version in self.known.items() if version != NEXT} - self._used.keys()

    def render(self) -> str:
        """The file, with all that was asked for; what a release has promised stays until a person takes it out."""
        kept = {name: self.known[name] for name in self.removed}
        by_version: dict[str, list[str]] = {}
        for name, version in sorted((kept | self._used).items()):
            by_version.setdefault(version, []).append(name)
        return json.dumps(dict(sorted(by_version.items())), indent=1, ensure_ascii=False) + "\n"
