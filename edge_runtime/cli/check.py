"""All problems of a configuration file that can be known without running it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime.config import Config, load_config
from edge_runtime.deployment.open_bundle import open_bundle
from edge_runtime.errors import ConfigError, EdgeRuntimeError, Problem

_GRAVEST_FIRST = (78, 65, 74, 70, 69)
"""An edit is needed, a bundle, a disk, somebody's look; what is missing may come by itself."""


@dataclass(slots=True)
class Checked:
    """What was found."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The models that are well: bundle, what runs them, largest difference in the self-test."""
    problems: list[Problem | EdgeRuntimeError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is no error and may still not be meant."""

    @property
    def exit_code(self) -> int:
        """That of the gravest problem; 0 without one."""
        codes = {
            ConfigError.exit_code if isinstance(problem, Problem) else problem.exit_code
            for problem in self.problems
        }
        return min(codes, key=_GRAVEST_FIRST.index) if codes else 0

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        problems = [
            {
                "where": problem.where,
                "line": problem.line,
                "problem": f"{problem.found}; expected {problem.expected}"
                if isinstance(problem, Problem)
                else problem.reason_text,
            }
            for problem in self.problems
        ]
        return {"ok": not problems, "problems": problems, "notes": self.notes, "models": self.models}


def check_config(path: Path, env: Mapping[str, str]) -> Checked:
    """Read the file, and if it holds, open every model that it names and look for what its cameras read."""
    found = Checked()
    try:
        config = load_config(path, env)
    except ConfigError as err:
        found.problems.extend(err.problems)
        return found
    for name in config.models:
        try:
            opened = open_bundle(config, name)
        except EdgeRuntimeError as err:
            found.problems.append(err)
            continue
        opened.engine.close()
        found.notes += [f"models.{name}.{note}" for note in opened.notes]
        found.models[name] = {
            "bundle": opened.bundle.id,
            "self_test_difference": opened.self_test_difference,
            "runs_on": opened.engine.runs_on,
        }
    found.notes += _camera_notes(config)
    return found


def _camera_notes(config: Config) -> Iterator[str]:
    """A share may be mounted and a camera plugged in later, so that what is not there now is no error."""
    for name, camera in config.cameras.items():
        if camera.enabled and camera.address.local_path and not _exists(camera.path):
            yield f"cameras.{name}.path: {camera.path} does not exist now; the camera waits for it"


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a folder that may not be entered, a share that is gone
        return False
