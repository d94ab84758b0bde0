"""Reports of one model: of recalibrations, and of trials of versions and patches; read over HTTP, bounded in number.

That of a new patch lies with it (``patches/p3/report.{json,html}``, see ``model_state``) and goes with it. Every other
one of a recalibration, a refusal or a known patch that was judged again, lies in ``reports/r7/``, one of a dry run in
``dry-runs/d4/``, and one of a trial in ``trials/t2/``; of each kind the newest ``KEPT`` stay, so that dry runs crowd
out no other. The content of a page is in ``calibration.report.page`` and in ``trial_page``.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from calibration.report.template import without_pictures
from calibration.stats.regular_file import read_whole
from edge_runtime.deployment.model_state import model_folder
from edge_runtime.errors import StateError
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.own_folder import make_folder, remove

log = structlog.get_logger()

REPORT_ID = re.compile(r"[prdt][1-9][0-9]{0,8}")
FOLDERS = {"p": "patches", "r": "reports", "d": "dry-runs", "t": "trials"}
"""By the first letter of an id; those of patches are not written here."""
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

    def keep(self, finished: Path, kind: Literal["r", "d", "t"] = "r") -> str | None:
        """Move the report of a finished recalibration that made no patch, dry run or trial in and forget the oldest.

        Whole or not at all. Gives its id; None when there is no report or the disk refuses.
        """
        store = self.folder / FOLDERS[kind]
        known = self._list(kind)
        report_id = f"{kind}{max((int(name[1:]) for name in known), default=0) + 1}"
        if not finished.is_dir():
            return None
        try:
            make_folder(store, may_be_link=True)
            finished.rename(store / report_id)
        except OSError as err:
            log.error("report not kept", path=str(store), reason=err.strerror)
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
        return [report_id for kind in FOLDERS for report_id in self._list(kind)]

    def _list(self, kind: str) -> list[str]:
        """Ids of one kind, oldest first."""
        found = [path.name for path in _folders(self.folder / FOLDERS[kind]) if path.name.startswith(kind)]
        return sorted(found, key=lambda name: int(name[1:]))

    def folder_of(self, report_id: str) -> Path:
        """Where a report lies, there or not; the id must be one."""
        return self.folder / FOLDERS[report_id[0]] / report_id

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


def forget_thumbnails(folder: Path) -> None:
    """Rewrite every report page below ``folder`` without its thumbnails.

    A page that cannot be rewritten is removed; where not even that is possible the log says so.
    """
    for path in sorted(folder.rglob("report.html")):
        try:
            text = read_whole(path, LARGEST_PAGE_BYTES).decode(errors="replace")
            bare = without_pictures(text)
            if bare == text:
                continue
            write_atomically(path, bare.encode())
        except (OSError, StateError) as err:
            _remove_page(path, str(err))
        else:
            log.info("thumbnails of a report removed", path=str(path))


def _remove_page(path: Path, reason: str) -> None:
    try:
        path.unlink()
    except OSError as err:
        log.error("thumbnails of a report not removed", path=str(path), reason=err.strerror)
    else:
        log.warning("report page removed instead of its thumbnails", path=str(path), reason=reason)
