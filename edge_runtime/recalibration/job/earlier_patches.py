"""Reads the patches of before that a job may use: known ones to judge first, the one in force to start from.

A file that cannot be used is left out and named in the report: without it the search only takes longer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from calibration import Patch, PatchError
from edge_runtime.recalibration.job.messages import JobRequest

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class EarlierPatches:
    """Patches of one model and baseline."""

    known: Mapping[str, Patch] = field(default_factory=dict)
    """By id."""
    start: Patch | None = None
    problems: tuple[str, ...] = ()
    """Why others cannot be used, for people."""

    @classmethod
    def load(cls, request: JobRequest, model_sha256: str, baseline_id: str) -> "EarlierPatches":
        """Those that a request names, as far as they can be read and were made for this model and baseline."""
        problems = list[str]()

        def read(path: Path) -> Patch | None:
            try:
                patch = Patch.load(path)
                patch.require_origin(model_sha256, baseline_id)
            except PatchError as err:
                log.error("a patch of before cannot be used", path=str(path), reason=str(err))
                problems.append(f"A patch of before was left out: {err}")
                return None
            return patch

        known = {patch_id: read(path) for patch_id, path in request.known.items()}
        start = None if request.start is None else read(request.start)
        usable = {patch_id: patch for patch_id, patch in known.items() if patch is not None}
        return cls(usable, start, tuple(problems))
