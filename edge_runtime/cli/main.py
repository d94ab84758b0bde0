"""The command line ``edge-runtime``: its commands, and errors as exit codes (sysexits(3)).

A command imports what it needs when it is called: ``run`` must not wait for the libraries of ``bundle build``.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import click

from edge_runtime import __version__
from edge_runtime.cli.options import print_answer
from edge_runtime.cli.printable import make_lines_printable
from edge_runtime.errors import EdgeRuntimeError, ExitCode
from edge_runtime.system.environment import secrets_in
from edge_runtime.system.redaction import PROCESS

if TYPE_CHECKING:
    from calibration.errors import CalibrationError

# Before numpy is imported: the drift monitor's matrices are small, and BLAS threads that wait for each other on a busy
# box made opening a baseline 4 to 17 times slower (measured: 0.43 s with one thread, 1.9 to 7.4 s with two).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


COMMANDS = {
    "asyncapi": "asyncapi:asyncapi",
    "baseline": "baseline.commands:baseline_group",
    "bench": "bench.commands:bench_command",
    "bundle": "bundle:bundle_group",
    "calibrate": "calibrate:calibrate",
    "check": "check:check",
    "command-log": "command_log:command_log",
    "compare": "compare:compare",
    "config": "config:config_group",
    "demo": "demo.commands:demo",
    "doctor": "doctor.commands:doctor",
    "infer": "infer:infer",
    "init": "init.commands:init",
    "keys": "keys:keys_group",
    "record": "record:record",
    "replay": "replay:replay",
    "rollout": "rollout:rollout_group",
    "run": "run:run",
    "schema": "check:schema",
    "send": "send:send",
    "tune": "tune.commands:tune_command",
}
"""By name, the module in this room and the command in it."""


class Commands(click.Group):
    """The commands of :data:`COMMANDS`, each imported when it is asked for: ``run`` loads none of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's method
        """All names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's method
        """The command; None: there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"edge_runtime.cli.{module}"), name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edge-runtime")
@click.option(
    "--env-file",
    type=click.Path(exists=True, dir_okay=False, readable=True),
    help="Set the variables of this file first, such as the service's secrets.env.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress on the terminal.")
def cli(env_file: str | None, *, quiet: bool) -> None:  # noqa: ARG001 - read by cli.progress
    """Inference daemon for edge devices; recalibrates the deployed model on the device."""
    from edge_runtime.system.log import configure_log

    if env_file is not None:
        from dotenv import load_dotenv

        load_dotenv(env_file, override=True, interpolate=False)  # a "$" in a password is a "$"

    PROCESS.learn(secrets_in(os.environ))
    # Standard output is for answers. ``run`` and ``demo`` configure the log again from the configuration.
    configure_log("warning", "console")


def _calibration_error() -> "type[CalibrationError]":
    """Looked up only when an error comes this far: most commands need nothing of that library (0.1 s)."""
    from calibration.errors import CalibrationError

    return CalibrationError


def main(arguments: list[str] | None = None, command: click.Command = cli) -> None:
    """Run a command line, and leave with the exit code."""
    try:
        name = "edge-runtime" if command is cli else None
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.Abort:
        code = ExitCode.INTERRUPTED
    except click.ClickException as err:
        err.show()
        code = _tell(ExitCode.USAGE, "Usage", err.format_message(), arguments)
    except (EdgeRuntimeError, _calibration_error()) as err:
        text = make_lines_printable(PROCESS.text(str(err)))
        print(f"error: {text}", file=sys.stderr)
        code = _tell(err.exit_code, type(err).__name__, text, arguments)
    sys.exit(code or 0)


def _tell(code: int, kind: str, text: str, arguments: list[str] | None) -> int:
    """With ``--json`` an error is an object on the standard output too; gives ``code``."""
    if "--json" in (sys.argv[1:] if arguments is None else arguments):
        print_answer({"error": {"type": kind, "message": text, "exit_code": int(code)}}, True, "")
    return code


if __name__ == "__main__":
    main()
