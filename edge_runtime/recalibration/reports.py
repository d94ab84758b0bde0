"""The reports of one model's recalibrations: written by the controller, read over HTTP, bounded in number.

That of a new patch lies with it (``patches/p3/report.{json,html}``, see ``model_state``) and goes with it; every other
one, of a refusal or of a known patch that was judged again, in ``reports/r7/``, of which the newest ``KEPT`` stay. The
content of a page is in ``calibration.report.page``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from calibration.stats.regular_file import read_whole
from edge_runtime.deployment.model_state import model_folder
from edge_runtime.system.own_folder import make_folder, remove

log = structlog.get_logger()

REPORT_ID = re.compile(r"[pr][1-9][0-9]{0,8}")
KEPT = 20
LARGEST_PAGE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Reports:
    """Reports below ``<state_dir>/models/<model>``. Nothing here raises for what is on the disk."""

    folder: Path

    @classmethod
    def of(cls, state_dir: Path, model: str) -> "Reports":
        """Those of a model."""
        return cls(model_folder(state_dir, model))

    def keep(self, finished: Path) -> str | None:
        """Move the report of a finished job that made no patch in, whole or not at all, and forget the oldest.

        Gives its id; None when there is no report or the disk refuses.
        """
        store = self.folder / "reports"
        known = self._refused()
        report_id = f"r{max((int(name[1:]) for name in known), default=0) + 1}"
        if not finished.is_dir():
            return None
        try:
            make_folder(store, may_be_link=True)
            finished.rename(store / report_id)
        except OSError as err:
            log.error("report of a recalibration not kept", path=str(store), reason=err.strerror)
            return None
        for old in known[: max(0, len(known) + 1 - KEPT)]:
            remove(store / old, below=self.folder)
        return report_id

    def has_page(self, report_id: str) -> bool:
        """Whether there is a page under this id."""
        return (self.folder_of(report_id) / "report.html").is_file()

    def read_page(self, report_id: str) -> bytes | None:
        """The HTML page; None when there is none, or when it is none of ours."""
        return self._read(report_id, "report.html")

    def read_figures(self, report_id: str) -> dict[str, Any] | None:
        """The JSON report; None when there is none."""
        try:
            found = orjson.loads(self._read(report_id, "report.json") or b"")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def list_ids(self) -> list[str]:
        """All reports, in no order."""
        patches = self.folder / "patches"
        accepted = [path.name for path in _folders(patches) if path.name.startswith("p")]
        return [*accepted, *self._refused()]

    def _refused(self) -> list[str]:
        """Ids in ``reports``, oldest first."""
        found = [path.name for path in _folders(self.folder / "reports") if path.name.startswith("r")]
        return sorted(found, key=lambda name: int(name[1:]))

    def folder_of(self, report_id: str) -> Path:
        """Where a report of this id lies, there or not; the id is not checked."""
        return self.folder / ("patches" if report_id.startswith("p") else "reports") / report_id

    def _read(self, report_id: str, name: str) -> bytes | None:
        if not REPORT_ID.fullmatch(report_id):
            return None
        path = self.folder_of(report_id) / name
        try:
            return read_whole(path, LARGEST_PAGE_BYTES)
        except OSError:
            return None


def _folders(store: Path) -> list[Path]:
    try:
        return [path for path in store.iterdir() if REPORT_ID.fullmatch(path.name)]
    except OSError:
        return []
