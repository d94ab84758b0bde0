"""``edge-runtime run``: the daemon."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import structlog

from edge_runtime.cli.options import CONFIG, SECONDS
from edge_runtime.errors import BundleError, ConfigError, EdgeRuntimeError, EngineError

if TYPE_CHECKING:
    from edge_runtime.config import Config
    from edge_runtime.daemon.lifecycle import Daemon

log = structlog.get_logger()


@click.command()
@CONFIG
@click.option("--for", "for_s", type=SECONDS, help="Stop by itself after so many seconds, with a summary.")
def run(config: Path, for_s: float | None) -> int:
    """Run the daemon with the configuration file CONFIG.

    If that cannot be used any more, the daemon starts with the configuration that was in force last, and says so.
    """
    try:
        loaded = load_and_log(config)
    except ConfigError as err:
        return _run_last_good(config, err, for_s)
    try:
        return _run(_build(loaded, config), for_s)
    except (BundleError, EngineError) as err:
        return _run_last_good(config, err, for_s, instead_of=loaded)


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


def _build(loaded: "Config", path: Path, refused: EdgeRuntimeError | None = None) -> "Daemon":
    from edge_runtime.daemon.wiring.daemon import build_daemon, stop_on_signals

    daemon = build_daemon(loaded, path, refused=refused)
    stop_on_signals(daemon)
    return daemon


def _run(daemon: "Daemon", for_s: float | None) -> int:
    code = daemon.run(for_s)
    if for_s is not None:
        from edge_runtime.cli.run_summary import summarise

        print(summarise(daemon.reporter.status(), daemon.reporter.history(), []))
    if daemon.is_hung:  # the end of the interpreter would abort in the engine's destructors, with a core dump
        sys.stdout.flush()
        os._exit(code)
    return code


def _run_last_good(
    path: Path, refused: EdgeRuntimeError, for_s: float | None, *, instead_of: "Config | None" = None
) -> int:
    """Run with the configuration that was in force last; without another one than was refused, raise the refusal."""
    from edge_runtime.config import find_last_good
    from edge_runtime.daemon.wiring.daemon import configure_log_as_set

    last_good = find_last_good(path, os.environ)
    if last_good is None or (instead_of is not None and last_good.text == instead_of.text):
        raise refused
    configure_log_as_set(last_good)
    log.warning("starting with the configuration that was in force last", refused=str(refused))
    return _run(_build(last_good, path, refused), for_s)
