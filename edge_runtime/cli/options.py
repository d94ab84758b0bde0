"""Arguments, options and their types, and the way answers are printed, that several commands share."""

import os
from pathlib import Path
from typing import Any

import click
import orjson

from edge_runtime.cli.bundle_argument import BundlePath
from edge_runtime.system.plain_text import as_text

SECONDS = click.FloatRange(min=0, min_open=True)
PATH = click.Path(path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
BUNDLE = click.argument("bundle", type=BundlePath())
OPTIONAL_BUNDLE = click.argument("bundle", required=False, type=BundlePath())
CONFIG = click.argument("config", type=PATH)
MODEL = click.option("--model", help="Which model; needed when there are several.")
TIMEOUT = click.option(
    "--timeout",
    "timeout_s",
    type=SECONDS,
    default=10.0,
    show_default=True,
    help="How many seconds the device may say nothing.",
)
SIGNING_KEY = click.option(
    "--key", type=PATH, help="Private key of the caller, for boxes that obey signed commands only."
)
JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
ONLY_JSON = click.option(
    "--json", is_flag=True, expose_value=False, help="For machines; so it is in any case."
)
"""Of commands that print nothing else: one way to call them all."""


class OutputFile(click.Path):
    """A file to be written: its folder must be there and writable *before* minutes of work go into its content."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: it cannot be written.
        """
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"{path}: its folder is missing or cannot be written", param, ctx)
        return path


def print_answer(values: dict[str, Any], as_json: bool, text: str) -> None:
    """Print ``values`` as one JSON object, or ``text`` for a person."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    click.echo(_encode(values, options) if as_json else as_text(text))


def print_indented(values: dict[str, Any]) -> None:
    """Print ``values`` as one JSON object over several lines."""
    click.echo(_encode(values, orjson.OPT_INDENT_2))


def _encode(values: dict[str, Any], options: int) -> str:
    try:
        return orjson.dumps(values, default=str, option=options).decode()
    except orjson.JSONEncodeError:  # the name of a file that is no UTF-8
        return orjson.dumps(
            _with_text(values), default=lambda one: as_text(str(one)), option=options
        ).decode()


def _with_text(value: Any) -> Any:
    match value:
        case str():
            return as_text(value)
        case dict():
            return {_with_text(key): _with_text(one) for key, one in value.items()}
        case list() | tuple():
            return [_with_text(one) for one in value]
    return value


def require_config(bundle: Path | None, config: Path | None, **options: object) -> None:
    """Refuse a command line that names nothing to run, or gives options that need ``--config`` without it.

    Raises:
        click.UsageError: it is so.
    """
    if bundle is None and config is None:
        raise click.UsageError("give a BUNDLE, or --config FILE for the model of a configuration")
    given = [f"--{name}" for name, value in options.items() if value]
    if config is None and given:
        raise click.UsageError(f"{' and '.join(given)}: only with --config FILE")
