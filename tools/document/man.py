"""The man page, ``docs/edge-runtime.1``, from the definitions of the command line."""

import re
from collections.abc import Iterator

import click

from edge_runtime.cli.main import cli
from edge_runtime.errors import ExitCode
from tools.document.since import ROOT

PAGE = ROOT / "docs" / "edge-runtime.1"
_TAIL = """\
.SH ENVIRONMENT
.TP
.B EDGE_*
Values that the configuration names as {EDGE_NAME}, passwords among them. They are never in logs or answers.
.SH FILES
.TP
.I /etc/edge\\-runtime/config.yaml
The configuration of the service.
.TP
.I /var/lib/edge\\-runtime
Where a configuration without state_dir keeps its state; installed bundles are in its folder bundles.
.SH SEE ALSO
.BR systemctl (1),
.BR mosquitto_sub (1).
The documents of the project: docs/getting\\-started.md, docs/operations.md.
"""


def write_page() -> str:
    """The page in the man macros of roff; the same definitions give the same text."""
    context = click.Context(cli, info_name="edge-runtime")
    lines = [
        '.\\" Written by "python -m tools.document"; a test compares.',
        '.TH EDGE\\-RUNTIME 1 "" "edge\\-runtime" "User Commands"',
        ".SH NAME",
        f"edge\\-runtime \\- {_escape(_first_line(cli))}",
        ".SH SYNOPSIS",
        ".B edge\\-runtime",
        "[OPTIONS] COMMAND [ARGS]...",
        ".SH OPTIONS",
        *_options(cli, context),
        ".TP",
        ".B \\-h, \\-\\-help",
        "Show the commands; behind a command, its help.",
        ".SH COMMANDS",
        *_commands(cli, context),
        ".SH EXIT STATUS",
        *(line for code in ExitCode for line in (".TP", f".B {code.value}", _escape(code.meaning))),
    ]
    return "\n".join(lines) + "\n" + _TAIL


def _commands(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in sorted(group.list_commands(parent)):
        command = group.get_command(parent, name)
        if command is None or command.hidden:
            continue
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            yield from _commands(command, context)
            continue
        words = [context.command_path, *command.collect_usage_pieces(context)]
        yield f".SS {_escape(' '.join(words))}"
        yield from _text(command.help or "")
        yield from _options(command, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    named = [one for one in command.params if isinstance(one, click.Option)]
    for flags, text in filter(None, (one.get_help_record(context) for one in named)):
        yield from (".TP", f".B {_escape(flags)}", _escape(text))


def _text(given: str) -> Iterator[str]:
    """Paragraphs; one that begins with a backspace is kept as it is, as click does."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", given.strip())):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *map(_escape, paragraph.splitlines()[1:]), ".fi")
        else:
            yield _escape(" ".join(paragraph.split()))


def _first_line(command: click.Command) -> str:
    return (command.help or "").strip().splitlines()[0].rstrip(".")


def _escape(text: str) -> str:
    """As text, not as macros; a hyphen that can be copied."""
    escaped = " ".join(text.splitlines()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
