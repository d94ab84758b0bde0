"""``edge-runtime command-log``: who commanded what, and whether anybody has changed the log."""

import os
from pathlib import Path

import click

from edge_runtime.cli.options import CONFIG, JSON, print_indented
from edge_runtime.errors import ExitCode, StateError


@click.command("command-log")
@CONFIG
@click.option("--head", help="A head that was noted earlier: it must be in the log.")
@JSON
def command_log(config: Path, head: str | None, as_json: bool) -> int:
    """Show what was commanded on a box, and by whom.

    CONFIG describes the box. It is checked that no line was changed since.

    Lines that were cut off at the end show by --head, with what this or 'status' gave before.
    """
    from edge_runtime.config import load_config
    from edge_runtime.messaging.commands.command_log import LOG_FILE, read_log

    path = load_config(config, os.environ).state_dir / LOG_FILE
    try:
        found = read_log(path)
    except OSError as err:
        raise StateError(
            f"cannot read {path}: {err.strerror}; expected a file that this user may read"
        ) from err
    problem = found.problem
    if problem is None and head is not None and head not in found.hashes:
        problem = f"{path}: the head {head[:64]} is not in it: lines were cut off or made anew, or are kept no longer"
    if as_json:
        print_indented({"entries": found.entries, "problem": problem, "head": found.hashes[-1]})
    else:
        for entry in found.entries:
            who = entry["by"] or "(not signed)"
            given = "".join(f" {name}={value}" for name, value in entry["arguments"].items())
            click.echo(f"{entry['at']}  {who}  {entry['verb']}{given}  {entry['outcome']}")
        first = found.entries[0]["number"] if found.entries else 1
        whole = f"{len(found.entries)} entries from number {first} on, none changed in between; head {found.hashes[-1]}"
        click.echo(problem or whole, err=problem is not None)
    return 0 if problem is None else ExitCode.DATA
