"""``edge-runtime command-log``: who commanded what, and whether anybody has changed the log."""

import os
from pathlib import Path

import click

from edge_runtime.cli.options import CONFIG, JSON, print_indented
from edge_runtime.errors import StateError

CHANGED = 65  # EX_DATAERR


@click.command("command-log")
@CONFIG
@JSON
def command_log(config: Path, as_json: bool) -> int:
    """Show every change that was commanded on the box of CONFIG, and check that the log is whole."""
    from edge_runtime.config import load_config
    from edge_runtime.messaging.commands.command_log import LOG_FILE, read_log

    path = load_config(config, os.environ).state_dir / LOG_FILE
    try:
        found = read_log(path)
    except OSError as err:
        raise StateError(
            f"cannot read {path}: {err.strerror}; expected a file that this user may read"
        ) from err
    if as_json:
        print_indented({"entries": found.entries, "problem": found.problem})
    else:
        for entry in found.entries:
            who = entry["by"] or "(not signed)"
            given = "".join(f" {name}={value}" for name, value in entry["arguments"].items())
            click.echo(f"{entry['at']}  {who}  {entry['verb']}{given}  {entry['outcome']}")
        whole = f"{len(found.entries)} entries, none changed"
        click.echo(found.problem or whole, err=found.problem is not None)
    return 0 if found.problem is None else CHANGED
