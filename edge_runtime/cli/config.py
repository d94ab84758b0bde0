"""``edge-runtime config``: which configurations were in force on this box, and the way back to one."""

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.cli.options import CONFIG, EXISTING_FOLDER, JSON, print_answer, print_indented
from edge_runtime.cli.table import format_table
from edge_runtime.errors import CommandError, StateError

if TYPE_CHECKING:
    from edge_runtime.config import ConfigHistory

NUMBER = click.IntRange(min=1)
STATE_DIR = click.option(
    "--state-dir",
    type=EXISTING_FOLDER,
    help="Where the history is, when CONFIG is too broken to say its state_dir.",
)


@click.group("config")
def config_group() -> None:
    """List, compare and put back earlier configurations.

    The daemon of the configuration file CONFIG keeps them on the box.
    """


@config_group.command()
@CONFIG
@STATE_DIR
@JSON
def history(config: Path, state_dir: Path | None, as_json: bool) -> None:
    """List the configurations that were in force, the newest last.

    With number, time, who, and the keys that changed.
    """
    entries = _find(config, state_dir).entries()
    if as_json:
        print_indented({"entries": [entry.as_row() for entry in entries]})
        return
    rows = []
    for entry in entries:
        note = [] if entry.text is not None else ["(text not kept: it holds a password)"]
        rows.append((str(entry.number), entry.at, entry.by, ", ".join([*entry.changed, *note])))
    click.echo(format_table(("NUMBER", "SINCE", "BY", "CHANGED"), rows))


@config_group.command()
@CONFIG
@click.argument("number", type=NUMBER, required=False)
@click.argument("other", type=NUMBER, required=False)
@STATE_DIR
@JSON
def diff(
    config: Path, number: int | None, other: int | None, state_dir: Path | None, *, as_json: bool
) -> None:
    """Show what differs between two configurations.

    Between NUMBER (left out: what is in force) and the file, or between NUMBER and OTHER.
    """
    from edge_runtime.config.secret_values import hide_secrets
    from edge_runtime.system.redaction import PROCESS

    kept = _find(config, state_dir)
    if number is None:
        number = kept.entries()[-1].number
    one = kept.get(number)
    texts = {f"number {one.number}": one.text or ""}
    if other is None:
        texts[str(config)] = _read(config).decode("utf-8", "replace")
    else:
        texts[f"number {other}"] = kept.get(other).text or ""
    (before, after), names = (hide_secrets(text).splitlines() for text in texts.values()), list(texts)
    found = map(PROCESS.text, difflib.unified_diff(before, after, names[0], names[-1], lineterm=""))
    if as_json:
        print_answer({"from": names[0], "to": names[-1], "diff": list(found)}, as_json, "")
    else:
        for line in found:
            click.echo(line)


@config_group.command()
@CONFIG
@click.argument("number", type=NUMBER, required=False)
@STATE_DIR
@JSON
def undo(config: Path, number: int | None, state_dir: Path | None, as_json: bool) -> None:
    """Put an earlier configuration back into the file.

    NUMBER is that of the history; left out, it is the one that was in force before what the file holds now.

    A running daemon notices it like any edit, and keeps what is in force when its bundles cannot be opened.
    """
    from edge_runtime.config import parse_config
    from edge_runtime.config.load import resolve_links
    from edge_runtime.system.atomic_file import write_atomically

    kept, target, now = _find(config, state_dir), resolve_links(config), _read(config)
    entry = kept.find_before(now) if number is None else kept.get(number)
    text = (entry.text or "").encode()
    parse_config(text, f"{config} (as of {entry.number})", os.environ, base=target.parent, own_file=target)
    if _read(config) != now:
        raise CommandError(f"{config} was changed by another edit meanwhile; nothing was done")
    write_atomically(target, text)
    report = {"config": str(config), "number": entry.number, "at": entry.at, "by": entry.by}
    print_answer(
        report, as_json, f"{config}: configuration {entry.number} of {entry.at} (by {entry.by}) is back"
    )


def _find(config: Path, state_dir: Path | None) -> "ConfigHistory":
    """The history of a file.

    Raises:
        CommandError: nothing was in force.
    """
    from edge_runtime.config import ConfigHistory

    kept = ConfigHistory.find(config, os.environ) if state_dir is None else ConfigHistory(config, state_dir)
    if not kept.entries():
        raise CommandError(
            f"no configuration of {config} was in force on this box: nothing is kept in {kept.state_dir}; if its "
            "daemon keeps its state elsewhere, and the file is too broken to say so: --state-dir DIR"
        )
    return kept


def _read(path: Path) -> bytes:
    from calibration.stats.regular_file import read_regular
    from edge_runtime.config.strict_yaml import MAX_BYTES

    try:
        return read_regular(path, MAX_BYTES + 1)
    except FileNotFoundError:
        return b""
    except OSError as err:
        raise StateError(
            f"cannot read {path}: {err.strerror}; expected a file that this user may read"
        ) from err
