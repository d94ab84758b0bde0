"""``edge-runtime send``: the commands that a running device obeys, sent over its broker."""

import os
from pathlib import Path
from typing import Any

import click

from edge_runtime.cli.options import MODEL, PATH, SECONDS, TIMEOUT, print_indented

REFUSED = 65  # EX_DATAERR: the device answered, and its answer is no
VERBS = {
    "status": "everything the device knows about itself",
    "commission": "approve what the cameras show now as healthy: a new baseline",
    "recalibrate": "try to correct the model for what the cameras show now",
    "rollback": "back to the generation before",
}
MOVED = {"baselines": "list", "bless": "approve"} | {verb: verb for verb in ("approve", "expire", "remove")}
"""Verbs for baselines, and the commands of ``edge-runtime baseline`` that send them now."""


@click.command(
    help="Send a command to a running device over its broker and print the answer.\n\nVERB is one of:\n\n\b\n"
    + "\n".join(f"  {verb:<12} {meaning}" for verb, meaning in VERBS.items())
    + "\n\nFor baselines: edge-runtime baseline --help"
)
@click.argument("verb", metavar="VERB", type=click.Choice([*VERBS, *MOVED]))
@click.option("--config", "config_path", required=True, type=PATH, help="The device's YAML file.")
@MODEL
@click.option("--stream", help="commission, recalibrate: only this camera's frames.")
@click.option("--frames", type=click.IntRange(8, 4096), help="commission: how many frames from now on.")
@click.option("--name", help="commission: what to call the baseline, e.g. night.")
@click.option("--expires-days", type=SECONDS, help="commission: how many days that holds.")
@TIMEOUT
def send(verb: str, config_path: Path, timeout_s: float, **given: Any) -> int:
    """Send a command and print the answer; the help text above lists the verbs."""
    from edge_runtime.cli.send import send_command
    from edge_runtime.config import load_address

    if verb in MOVED:
        click.echo(f"send {verb} is now: edge-runtime baseline {MOVED[verb]} {config_path}", err=True)
    arguments = {name: value for name, value in given.items() if value is not None}
    answer = send_command(load_address(config_path, os.environ), verb, arguments, timeout_s)
    print_indented(answer)
    return 0 if answer.get("status") == "ok" else REFUSED
