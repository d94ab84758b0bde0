"""What the commands of ``python -m calibration`` have in common: options, errors into exit codes, answers.

Exit codes of sysexits(3): 0 also for a refusal by the gate, 64 wrong usage, 65 bad input, 74 a file that cannot be
written. With ``--json`` stdout holds exactly one JSON object, an error too. No command lives here.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from calibration.errors import CalibrationError

P = ParamSpec("P")

EX_USAGE, EX_CANNOT_WRITE = 64, 74

_OUTPUTS = ("out", "page")
_INPUTS = ("model", "baseline", "reference", "data", "patch", "files")
"""Names of the parameters that hold paths. ``approve`` has neither: it renews a file in its place."""

MODEL = click.argument("model", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
OUTPUT = click.option(
    "--output", help="Name of the model's output with the answers, where it has others too."
)
THREADS = click.option(
    "--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="CPU threads."
)


def file_option(flag: str, text: str) -> Callable[..., Any]:
    """A required option that names a file."""
    return click.option(flag, type=click.Path(path_type=Path, dir_okay=False), required=True, help=text)


def report_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn this library's errors into a message, an exit code and, with ``--json``, an object."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _require_places(kwargs)
            command(*args, **kwargs)
            return
        except click.UsageError as err:
            text, kind, code = err.format_message(), "Usage", EX_USAGE
        except CalibrationError as err:
            text, kind, code = str(err), type(err).__name__, err.exit_code
        except OSError as err:
            text = f"{err.filename}: cannot be written ({err.strerror}). Check the directory and its space."
            kind, code = "CannotWrite", EX_CANNOT_WRITE
        click.echo(f"error: {text}", err=True)
        if kwargs.get("as_json"):
            click.echo(json.dumps({"error": {"type": kind, "message": text}}))
        sys.exit(code)

    return run


def _require_places(given: Mapping[str, object]) -> None:
    """Find out before minutes of work that the answer cannot be written, or would lie over a model or a baseline.

    Raises:
        OSError: an output's folder is missing, or may not be written to.
        click.UsageError: an output is a file that the command reads, or two outputs are one.
    """
    out = _paths(given, _OUTPUTS)
    for path in out:
        if not os.access(path.parent, os.W_OK | os.X_OK):
            code = errno.EACCES if path.parent.is_dir() else errno.ENOENT
            raise OSError(code, os.strerror(code), str(path))
    taken = {path.resolve() for path in _paths(given, _INPUTS)}
    for path in out:
        if path.resolve() in taken:
            raise click.UsageError(f"{path} is given twice, and would be overwritten. Name another file.")
        taken.add(path.resolve())


def _paths(given: Mapping[str, object], options: Sequence[str]) -> list[Path]:
    """The paths in the values of these options and arguments."""
    values = [given.get(option) for option in options]
    flat = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return [path for path in flat if isinstance(path, Path)]


def answer_with(data: dict[str, Any], lines: list[str], as_json: bool) -> None:
    """Print the answer: for machines, or for a person."""
    click.echo(json.dumps(data, indent=2) if as_json else "\n".join(lines))
