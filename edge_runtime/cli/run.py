"""``edge-runtime run``: the daemon."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.cli.options import CONFIG, SECONDS

if TYPE_CHECKING:
    from edge_runtime.config import Config


@click.command()
@CONFIG
@click.option("--for", "for_s", type=SECONDS, help="Stop by itself after so many seconds, with a summary.")
def run(config: Path, for_s: float | None) -> int:
    """Run the daemon with the configuration file CONFIG."""
    from edge_runtime.daemon.wiring.daemon import build_daemon, stop_on_signals

    daemon = build_daemon(load_and_log(config), config)
    stop_on_signals(daemon)
    code = daemon.run(for_s)
    if for_s is not None:
        from edge_runtime.cli.run_summary import summarise

        print(summarise(daemon.reporter.status(), daemon.reporter.history(), []))
    return code


def load_and_log(path: Path) -> "Config":
    """The checked configuration, with the log set up as it says.

    Raises:
        ConfigError: with every problem of the file.
    """
    from edge_runtime.config import load_config
    from edge_runtime.daemon.wiring.daemon import configure_log_as_set

    config = load_config(path, os.environ)
    configure_log_as_set(config)
    return config
