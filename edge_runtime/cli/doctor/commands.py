"""``edge-runtime doctor``: the command and its table."""

import os
from pathlib import Path

import click

from edge_runtime.cli.bundle_argument import find_service_config
from edge_runtime.cli.doctor.finding import Finding, Level, exit_code_of
from edge_runtime.cli.options import JSON, PATH, print_answer
from edge_runtime.system.redaction import PROCESS

_COLOURS = {Level.OK: "green", Level.NOTE: "yellow", Level.PROBLEM: "red"}


@click.command()
@click.argument("config", type=PATH, required=False)
@click.option(
    "--user", help="Whose rights count; else those of the user of the running daemon, of the unit, or yours."
)
@JSON
def doctor(config: Path | None, user: str | None, *, as_json: bool) -> int:
    """Say what is wrong with this box, and what to do.

    It looks at the box and the configuration CONFIG. Without CONFIG that of the service is taken, where there is
    one. A running daemon is not disturbed. It takes 15 seconds at most. The exit code is that of the gravest
    problem, 0 without one. As root it sees most.
    """
    from edge_runtime.cli.doctor.examine import examine
    from edge_runtime.system.log import configure_log

    config = find_service_config() if config is None else config
    configure_log("error", "console")  # a camera that does not answer is a finding
    try:
        findings = examine(config, os.environ, user)
    except KeyError:
        raise click.UsageError(f"--user: there is no user {user!r} on this box") from None
    code = exit_code_of(findings)
    shown = [
        {
            "id": one.id,
            "level": str(one.level),
            "found": PROCESS.text(one.found),
            "advice": PROCESS.text(one.advice),
            "exit_code": one.exit_code,
        }
        for one in findings
    ]
    values = {"config": None if config is None else str(config), "exit_code": code, "findings": shown}
    print_answer(values, as_json, _write_table(findings))
    return code


def _write_table(findings: list[Finding]) -> str:
    """A line for each finding, and below it what to do; the gravest come last, where a person looks."""
    order = list(Level)
    lines = []
    for one in sorted(findings, key=lambda found: order.index(found.level)):
        level = click.style(f"{one.level:<8}", fg=_COLOURS[one.level])
        lines.append(f"{level} {one.id:<20} {PROCESS.text(one.found)}")
        if one.advice:
            lines.append(f"{'':<29} -> {PROCESS.text(one.advice)}")
    counts = ", ".join(_count(level, sum(one.level is level for one in findings)) for level in order)
    return "\n".join([*lines, counts])


def _count(level: Level, number: int) -> str:
    return f"{number} {level}" if level is Level.OK or number == 1 else f"{number} {level}s"
