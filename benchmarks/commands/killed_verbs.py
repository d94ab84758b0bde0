"""Commands whose acts can be counted by what they leave on the disk, whatever their caller is told."""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import orjson

from benchmarks.commands.killed_box import MODEL, Box, wait_until
from benchmarks.performance.bare_runs import BUNDLE
from edge_runtime.config import ConfigHistory

PATCHES = ("p1", "p2")
"""That lie one on the other: each rolling back shows."""


class Verb(Protocol):
    """A command whose acts can be counted, whatever its caller is told."""

    name: str

    def prepare(self, box: Box) -> None:
        """Before the command; the daemon runs, and does after it."""

    def make_arguments(self) -> dict[str, Any]:
        """Of the next command."""

    def count(self, box: Box) -> int:
        """How often it acted since ``prepare``."""

    def disturb(self, box: Box) -> None:
        """After the restart: do something after which a second act would show."""

    def is_done(self, box: Box) -> bool:
        """Whether a command that was answered with ``ok`` has also had its effect."""


class SetConfig:
    """Sets the pace of the camera; after the restart another caller sets another one, which must stay."""

    name = "set-config"

    def __init__(self) -> None:
        self._number, self._base, self._others = 0, 0, 0

    def prepare(self, box: Box) -> None:
        """Note the history."""
        self._number += 1
        self._base, self._others = _newest(box), 0

    def make_arguments(self) -> dict[str, Any]:
        """Another pace each time."""
        return {"set": {"cameras.belt.fps": 10 + self._number / 1000}}

    def count(self, box: Box) -> int:
        """Configurations in the history that no other caller made."""
        return _newest(box) - self._base - self._others

    def disturb(self, box: Box) -> None:
        """Set another pace."""
        name = f"other-{self._number}"
        box.send(
            "set-config", box.make("set-config", name, {"set": {"cameras.belt.fps": 9 + self._number / 1000}})
        )
        wait_until(lambda: bool(box.answers(name)))
        self._others = 1

    def is_done(self, box: Box) -> bool:
        """Its answer comes when it is in force and in the history."""
        return self.count(box) > 0


class UndoConfig:
    """Puts back what was in force before; twice would be there and back."""

    name = "undo-config"

    def __init__(self) -> None:
        self._base = 0

    def prepare(self, box: Box) -> None:
        """Note the history."""
        self._base = _newest(box)

    def make_arguments(self) -> dict[str, Any]:
        """None."""
        return {}

    def count(self, box: Box) -> int:
        """New configurations in the history."""
        return _newest(box) - self._base

    def disturb(self, box: Box) -> None:
        """Twice shows by itself."""

    def is_done(self, box: Box) -> bool:
        """As of ``set-config``."""
        return self.count(box) > 0


class Rollback:
    """Two patches lie one on the other, see ``put_patches``: once leads to the first, twice to none."""

    name = "rollback"

    def __init__(self) -> None:
        self._before = 0

    def prepare(self, box: Box) -> None:
        """They were put there before the start; a baseline that was recorded since has taken them back."""
        self._before = _steps_back(box.state)

    def make_arguments(self) -> dict[str, Any]:
        """The only model."""
        return {}

    def count(self, box: Box) -> int:
        """Steps back."""
        return _steps_back(box.state) - self._before

    def disturb(self, box: Box) -> None:
        """Twice shows by itself."""

    def is_done(self, box: Box) -> bool:
        """Its answer comes after it."""
        return self.count(box) > 0


class Commission:
    """Records a baseline, which takes seconds, and is answered after that; a kill meanwhile ends it for good."""

    name = "commission"

    def __init__(self) -> None:
        self._before = 0

    def prepare(self, box: Box) -> None:
        """Note what was recorded."""
        self._before = box.events("commissioned")

    def make_arguments(self) -> dict[str, Any]:
        """The frames of the configuration."""
        return {"timeout_s": 60}

    def count(self, box: Box) -> int:
        """Baselines that were recorded."""
        return box.events("commissioned") - self._before

    def disturb(self, box: Box) -> None:
        """Twice shows by itself."""

    def is_done(self, box: Box) -> bool:
        """The event tells."""
        return self.count(box) > 0


def put_patches(state: Path) -> None:
    """Two patches that change nothing, the second one in use; the daemon does not run."""
    folder = _models(state)
    model = (BUNDLE / "model.onnx").read_bytes()
    report = orjson.dumps({"model_sha256": sha256(model).hexdigest(), "cause": "command"})
    for patch in PATCHES:
        place = folder / "patches" / patch
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "model.onnx").write_bytes(model)
        (place / "report.json").write_bytes(report)
    active = {"bundle": "efficientnet-lite0/1", "patch": PATCHES[1], "previous": PATCHES[0]}
    (folder / "active.json").write_bytes(orjson.dumps(active))


def _steps_back(state: Path) -> int:
    active = orjson.loads((_models(state) / "active.json").read_bytes())["patch"]
    return len(PATCHES) if active is None else len(PATCHES) - 1 - PATCHES.index(active)


def _models(state: Path) -> Path:
    return state / "models" / MODEL


def _newest(box: Box) -> int:
    entries = ConfigHistory(box.file, box.state).entries()
    return entries[-1].number if entries else 0
