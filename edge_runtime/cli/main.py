"""The command line ``edge-runtime``: its commands, and errors as exit codes (sysexits(3)).

A command imports what it needs when it is called: ``run`` must not wait for the libraries of ``bundle build``.
"""

import os
import sys
from typing import TYPE_CHECKING

import click

from edge_runtime import __version__
from edge_runtime.cli.asyncapi import asyncapi
from edge_runtime.cli.baseline.commands import baseline_group
from edge_runtime.cli.bench.commands import bench_command
from edge_runtime.cli.bundle import bundle_group
from edge_runtime.cli.calibrate import calibrate
from edge_runtime.cli.check import check, schema
from edge_runtime.cli.command_log import command_log
from edge_runtime.cli.compare import compare
from edge_runtime.cli.config import config_group
from edge_runtime.cli.demo.commands import demo
from edge_runtime.cli.doctor.commands import doctor
from edge_runtime.cli.infer import infer
from edge_runtime.cli.init.commands import init
from edge_runtime.cli.keys import keys_group
from edge_runtime.cli.options import print_answer
from edge_runtime.cli.printable import make_lines_printable
from edge_runtime.cli.record import record
from edge_runtime.cli.replay import replay
from edge_runtime.cli.rollout import rollout_group
from edge_runtime.cli.run import run
from edge_runtime.cli.send import send
from edge_runtime.cli.tune.commands import tune_command
from edge_runtime.errors import EdgeRuntimeError, ExitCode
from edge_runtime.system.environment import secrets_in
from edge_runtime.system.redaction import PROCESS

if TYPE_CHECKING:
    from calibration.errors import CalibrationError

# Before numpy is imported: the drift monitor's matrices are small, and BLAS threads that wait for each other on a busy
# box made opening a baseline 4 to 17 times slower (measured: 0.43 s with one thread, 1.9 to 7.4 s with two).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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


for subcommand in (
    run, demo, init, check, doctor, schema, infer, calibrate, send, bundle_group, keys_group, baseline_group,
    rollout_group, tune_command, bench_command, command_log, config_group, asyncapi,
    record, replay, compare,
):  # fmt: skip
    cli.add_command(subcommand)


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
