"""``edge-runtime run``: the daemon."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_runtime.cli.options import CONFIG, SECONDS
from edge_runtime.errors import BundleError, ConfigError, EdgeRuntimeError, EngineError
from edge_runtime.system.collector import keep_what_is_made

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

    from edge_runtime.config import Config
    from edge_runtime.daemon.lifecycle import Daemon

UNUSABLE = (ConfigError, BundleError, EngineError)
"""Another configuration may do better."""


@click.command()
@CONFIG
@click.option("--for", "for_s", type=SECONDS, help="Stop by itself after so many seconds, with a summary.")
@click.option(
    "--safe-mode",
    is_flag=True,
    help="Run without cameras and models when no configuration can be used, so that it can be mended from afar; "
    "as always under systemd.",
)
@click.option("--json", "as_json", is_flag=True, help="The summary at the end as one JSON object.")
def run(config: Path, for_s: float | None, *, safe_mode: bool, as_json: bool) -> int:
    """Run the daemon with the configuration file CONFIG.

    If that cannot be used any more, the daemon starts with the configuration that was in force last, and says so.
    """
    loaded = None
    try:
        loaded = load_and_log(config)
        return _run(_build(loaded, config), for_s, as_json=as_json)
    except UNUSABLE as err:
        refused = err
    last_good = _find_last_good(config, instead_of=loaded)
    if last_good is not None:
        _log().warning("starting with the configuration that was in force last", refused=str(refused))
        try:
            return _run(_build(last_good, config, refused), for_s, as_json=as_json)
        except UNUSABLE as err:
            _log().error("the configuration that was in force last cannot be used either", reason=str(err))
    is_there = os.path.exists(config)  # noqa: PTH110 - a folder that may not be entered is no error
    if not (safe_mode or _is_managed()) or not is_there:
        raise refused
    return _run(_build(_load_safe(config, refused), config, refused), for_s, as_json=as_json)


@keep_what_is_made()
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


def _find_last_good(path: Path, instead_of: "Config | None") -> "Config | None":
    """The configuration that was in force last, with the log set up as it says; None: it is the one refused."""
    from edge_runtime.config import find_last_good
    from edge_runtime.daemon.wiring.daemon import configure_log_as_set

    found = find_last_good(path, os.environ)
    if found is None or (instead_of is not None and found.text == instead_of.text):
        return None
    configure_log_as_set(found)
    return found


def _log() -> "BoundLogger":
    import structlog

    log: BoundLogger = structlog.get_logger()
    return log


def _is_managed() -> bool:
    """A person at a terminal wants the error; a service without a terminal must stay within reach."""
    from edge_runtime.system.systemd import SystemdNotify

    return SystemdNotify(os.environ).is_managed


def _load_safe(path: Path, refused: EdgeRuntimeError) -> "Config":
    from edge_runtime.config import find_safe_config
    from edge_runtime.daemon.wiring.daemon import configure_log_as_set

    config = find_safe_config(path, os.environ)
    configure_log_as_set(config)
    _log().error(
        "safe mode: no camera and no model runs until the configuration is mended", refused=str(refused)
    )
    return config


@keep_what_is_made()
def _build(loaded: "Config", path: Path, refused: EdgeRuntimeError | None = None) -> "Daemon":
    from edge_runtime.daemon.wiring.daemon import build_daemon, stop_on_signals

    daemon = build_daemon(loaded, path, refused=refused)
    stop_on_signals(daemon)
    return daemon


def _run(daemon: "Daemon", for_s: float | None, *, as_json: bool) -> int:
    code = daemon.run(for_s)
    if for_s is not None or as_json:
        from edge_runtime.cli.run_summary import summarise, summarise_as_json

        write = summarise_as_json if as_json else summarise
        print(write(daemon.reporter.status(), daemon.reporter.history(), []))
    if daemon.is_hung:  # the end of the interpreter would abort in the engine's destructors, with a core dump
        sys.stdout.flush()
        os._exit(code)
    return code
