"""Puts together the parts that take edits of the configuration: those of its file, and those by command."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from edge_runtime.config import Changes, Config, ConfigHistory, keep_last_good
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.config_editor import ConfigEditor
from edge_runtime.daemon.edit_trial import EditTrial
from edge_runtime.daemon.edit_under_way import Commanded, Edits, Promoted
from edge_runtime.daemon.lifecycle import StopRequest
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.reload import ConfigReloader
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.trust_watch import TrustWatch
from edge_runtime.daemon.wiring.http import find_missing_extras
from edge_runtime.daemon.wiring.messaging import make_callers
from edge_runtime.errors import CommandError, EdgeRuntimeError, StateError
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import Fact
from edge_runtime.serving.certificate import open_certificate
from edge_runtime.serving.listener import prove_address
from edge_runtime.system.priority import run_in_background
from edge_runtime.system.state_lock import lock_state_dir
from edge_runtime.system.supervised_thread import Crashes
from edge_runtime.system.systemd import SystemdNotify

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Editing:
    """Where edits wait, and the parts that bring them there. ``promoted`` are models with a version that has passed."""

    path: Path
    edits: Edits
    promoted: Promoted
    commanded: Commanded
    watch: ConfigWatcher
    history: ConfigHistory
    trial: EditTrial
    trust: TrustWatch
    editor: ConfigEditor


def make_editing(
    loaded: Config,
    path: Path,
    running: Running,
    adjust: Callable[[Config], Config],
    refused: EdgeRuntimeError | None,
    emit: Callable[[Fact], None],
    restart: Callable[[], dict[str, bool]],
    crashes: Crashes,
) -> Editing:
    """The parts; nothing is watched yet. The arguments of the same name are those of ``build_daemon``."""
    edits, commanded, state_dir = Edits(), Commanded(), running.config.state_dir
    watch = ConfigWatcher(
        path,
        os.environ,
        current=loaded,
        on_change=lambda edited: edits.put(adjust(edited)),
        on_error=edits.put,
        crashes=crashes,
        refused=refused,
    )
    if refused is not None:
        edits.put(refused)
    history, trust = ConfigHistory(path, state_dir), TrustWatch(running, crashes, run_in_background)
    trial = EditTrial(path, os.environ, state_dir, commanded, watch, adjust, emit, restart)
    editor = ConfigEditor(
        path,
        os.environ,
        running,
        commanded,
        watch,
        adjust,
        history,
        trial,
        warn_before=trust.warn_before,
        read_keys=make_callers,
    )
    return Editing(path, edits, Promoted(), commanded, watch, history, trial, trust, editor)


def make_reloader(
    editing: Editing,
    running: Running,
    cameras: Cameras,
    delivery: Delivery,
    notify: SystemdNotify,
    crashes: Crashes,
    open_model: Callable[[Config, str, Callable[[], bool]], ModelRuntime],
    open_connection: Callable[[Config], BrokerConnection],
    configure_log: Callable[[Config], None],
    emit: Callable[[Fact, str | None], None],
    restart: Callable[[], object],
) -> ConfigReloader:
    """It applies the edits that wait in ``editing``."""
    return ConfigReloader(
        running=running,
        cameras=cameras,
        delivery=delivery,
        notify=notify,
        edits=editing.edits,
        promoted=editing.promoted,
        commanded=editing.commanded,
        crashes=crashes,
        open_model=open_model,
        open_connection=open_connection,
        configure_log=configure_log,
        emit=emit,
        keep_config=partial(_keep_config, editing.path, running, editing.history),
        restart=restart,
        prove_start=partial(prove_start, running),
        look_again=editing.watch.look_again,
        trust=editing.trust,
        run_in_background=run_in_background,
    )


def _keep_config(
    path: Path, running: Running, history: ConfigHistory, config: Config, by: str, changed: Changes
) -> None:
    try:
        keep_last_good(config, path)
    except StateError as err:  # the daemon serves without it
        log.warning("the configuration in force cannot be kept for the next start", reason=str(err))
    try:
        running.config_entry = history.note(config, by, changed)
    except StateError as err:
        running.config_entry = None
        log.warning("the configuration in force cannot be kept in its history", reason=str(err))


def restart_by_command(notify: SystemdNotify, stop: StopRequest) -> dict[str, bool]:
    """End in good order; systemd starts it again (``Restart=always``).

    Raises:
        CommandError: nobody would start it again.
    """
    if not notify.is_managed:
        raise CommandError(
            "this process was not started by systemd, so nobody would start it again; nothing was done"
        )
    log.info("restart by command")
    stop.put()
    return {"restarting": True}


def prove_start(running: Running, config: Config) -> None:
    """Whether a start would have its state directory and its ports; those of this process are in use by it.

    Raises:
        StateError, NotListening, ExtraMissing: it would not, or lacks a library.
    """
    own = running.config
    if config.state_dir != own.state_dir:
        lock_state_dir(config.state_dir).close()
    for _, missing in find_missing_extras(config):
        raise missing
    if not config.http.enabled:
        return
    if config.http.tls is not None:
        open_certificate(config.http.tls.cert, config.http.tls.key)
    own_ports = own.http.ports if own.http.enabled else {}
    for key, port in config.http.ports.items():
        if port not in own_ports.values():
            prove_address(config.http.host, port, key)
