"""Puts a daemon together from a configuration: every part is named here once. No policy lives here."""

import faulthandler
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge_runtime.config import Config, secrets_of
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.lifecycle import Daemon, DaemonParts
from edge_runtime.daemon.wiring.messaging import Outboxes, open_connection, open_http
from edge_runtime.daemon.wiring.models import batch_policy, open_model
from edge_runtime.daemon.wiring.sources import open_source
from edge_runtime.datatypes import Result
from edge_runtime.deployment.open_bundle import OpenedModel, open_bundle
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.system.heap import share_one_arena
from edge_runtime.system.log import configure_log
from edge_runtime.system.priority import run_in_background
from edge_runtime.system.state_lock import lock_state_dir
from edge_runtime.system.supervised_thread import Crashes
from edge_runtime.system.systemd import SystemdNotify


def build_daemon(
    loaded: Config,
    config_path: Path | None,
    *,
    adjust: Callable[[Config], Config] = lambda config: config,
    on_result: Callable[[Result], None] = lambda _: None,
    open_bundle: Callable[[Config, str], OpenedModel] = open_bundle,
) -> Daemon:
    """A daemon that has not started yet.

    Args:
        loaded: What to run, as the file says.
        config_path: The file to watch for edits; None watches nothing.
        adjust: Applied to it and to every edited configuration (the demo's options).
        on_result: Sees every result, in the inference worker's thread.
        open_bundle: Gives a model's bundle and engine; ``OpenAhead`` has begun with that.

    Raises:
        ConfigError: the broker's settings cannot be used.
        StateError: the state directory cannot be used.
    """
    share_one_arena()
    config = adjust(loaded)
    lock = lock_state_dir(config.state_dir)
    crashes = Crashes(on_fatal=lambda reason: daemon.fail(reason))  # noqa: PLW0108 - made below
    outboxes = Outboxes(config, crashes)
    delivery = Delivery(config.device, on_result)
    watch = None if config_path is None else ConfigWatcher(
        config_path, os.environ, current=loaded, crashes=crashes,
        on_change=lambda edited: daemon.edited(adjust(edited)), on_error=lambda err: daemon.edited(err),  # noqa: PLW0108 - made below
    )  # fmt: skip
    parts = DaemonParts(
        open_model=partial(open_model, delivery=delivery, crashes=crashes, open_bundle=open_bundle),
        batch_policy=batch_policy,
        configure_log=_configure_log,
        cameras=Cameras(
            lambda *camera: open_source(*camera, connection=daemon.connection),
            config.state_dir / "streams",
            crashes,
        ),
        delivery=delivery,
        open_connection=partial(open_connection, outboxes=outboxes),
        close_outboxes=outboxes.close,
        open_http=partial(open_http, crashes=crashes),
        run_in_background=run_in_background,
        watch=watch,
        notify=SystemdNotify(os.environ),
        crashes=crashes,
        state_lock=lock,
    )
    daemon = Daemon(config, parts)
    return daemon


def _configure_log(config: Config) -> None:
    configure_log(config.log.level, config.log.format, secrets=secrets_of(config, os.environ))


def stop_on_signals(daemon: Daemon) -> None:
    """SIGTERM and SIGINT drain and end the daemon, SIGHUP has it look at its configuration.

    SIGABRT, which systemd sends when the watchdog was not fed, prints where every thread hangs.
    """
    faulthandler.enable()
    signal.signal(signal.SIGHUP, lambda *_: daemon.look_at_config())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
