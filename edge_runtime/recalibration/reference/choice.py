"""Which pictures a task uses: frames of the cameras, an operator's folder, or a reference set by name.

Pure but for a look whether the folder is there.

A folder stands for the site in general. A set that is named stands for a drift of the operator's choice, which need not
be the one of now: its task collects live frames as well, and a patch is accepted only where they show that drift.
"""

from pathlib import Path

from edge_runtime.config.reference import FOLDER, LIVE, ReferenceConfig
from edge_runtime.errors import CommandError
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind


def choose_reference(
    settings: ReferenceConfig, kind: Kind, cause: Cause, name: str | None
) -> ChosenReference:
    """The pictures for a task; without a ``name`` the configured folder where there is one, and live frames else.

    A commissioning, and a recalibration for a drift that has just begun, always take live frames.

    Raises:
        CommandError: there is no such set, or its folder is not there.
    """
    folders = settings.sets | ({} if settings.folder is None else {FOLDER: settings.folder})
    if name is None:
        is_general = kind is Kind.RECALIBRATE and cause is not Cause.DRIFT
        folder = settings.folder if is_general else None
        return ChosenReference() if folder is None else ChosenReference(FOLDER, folder)
    if name == LIVE:
        return ChosenReference()
    chosen = folders.get(name)
    if chosen is None:
        known = ", ".join([LIVE, *sorted(folders)])
        raise CommandError(
            f"there is no reference set {name!r}; known are {known}. "
            "Others are added in the configuration: recalibration.reference.sets"
        )
    return ChosenReference(name, _require_folder(name, chosen))


def _require_folder(name: str, folder: Path) -> Path:
    """Before frames are collected for minutes; the pictures in it are read later."""
    try:
        is_there = folder.is_dir()
    except OSError:
        is_there = False
    if not is_there:
        raise CommandError(
            f"reference set {name!r}: {folder} is no folder that can be read; nothing was begun"
        )
    return folder
