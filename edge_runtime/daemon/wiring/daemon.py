"""Puts a daemon together from a configuration: every part is made here once, and given only parts that exist."""

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import structlog

from edge_runtime.bundles.travel.chunks import MAX_CHUNK_BYTES, name_chunk
from edge_runtime.config import Config, SensorConfig, StreamConfig, secrets_of
from edge_runtime.config.commands import CommandsConfig
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.home_assistant import HomeAssistant
from edge_runtime.daemon.installs import Installs
from edge_runtime.daemon.lifecycle import Daemon, StopRequest
from edge_runtime.daemon.listeners import Listeners
from edge_runtime.daemon.object_events import ObjectEvents
from edge_runtime.daemon.object_pictures import ObjectPictures
from edge_runtime.daemon.open_objects import OpenObjects
from edge_runtime.daemon.picture_sender import PictureSender
from edge_runtime.daemon.recording_server import RecordingServer
from edge_runtime.daemon.reload import ConfigReloader
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.snapshots import Snapshots
from edge_runtime.daemon.status import StatusReporter
from edge_runtime.daemon.trends import Trends
from edge_runtime.daemon.wiring.editing import make_editing, make_reloader, restart_by_command
from edge_runtime.daemon.wiring.http import find_certificate, make_servers
from edge_runtime.daemon.wiring.messaging import (
    Outboxes,
    make_command_handlers,
    make_command_port,
    open_command_records,
    open_connection,
)
from edge_runtime.daemon.wiring.models import open_model
from edge_runtime.daemon.wiring.sources import AnsweredFolders, open_source
from edge_runtime.daemon.wiring.telemetry import open_traces
from edge_runtime.datatypes import Result
from edge_runtime.errors import ConfigError, EdgeRuntimeError
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.tracking.trackforge_tracker import TrackforgeTracker
from edge_runtime.messaging.commands.under_way import UnderWay
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import Event, Fact
from edge_runtime.messaging.uploads import Uploads
from edge_runtime.recordings.feed import Feed
from edge_runtime.sources.base import Source
from edge_runtime.sources.input_lines import InputLines
from edge_runtime.system.heap import share_one_arena
from edge_runtime.system.log import configure_log
from edge_runtime.system.priority import run_in_background
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.state_lock import lock_state_dir
from edge_runtime.system.supervised_thread import Crashes
from edge_runtime.system.systemd import SystemdNotify

log = structlog.get_logger()


def build_daemon(
    loaded: Config,
    config_path: Path,
    *,
    adjust: Callable[[Config], Config] = lambda config: config,
    refused: EdgeRuntimeError | None = None,
    on_result: Callable[[Result], None] = lambda _: None,
) -> Daemon:
    """A daemon that has not started yet.

    Args:
        loaded: What to run, as the file says.
        config_path: The file to watch for edits.
        adjust: Applied to it and to every edited configuration (the demo's options).
        refused: Why ``loaded`` is an earlier configuration than the file holds now, or that of safe mode.
        on_result: Sees every result, in the inference worker's thread.

    Raises:
        ConfigError: the broker's settings cannot be used.
        StateError: the state directory cannot be used.
    """
    share_one_arena()
    config = adjust(loaded)
    with ExitStack() as resources:  # closes them when a later part cannot be made
        resources.callback(lock_state_dir(config.state_dir).close)
        stop, notify = StopRequest(), SystemdNotify(os.environ)
        crashes = Crashes(stop.fail)
        outboxes = Outboxes(config, crashes)
        resources.callback(outboxes.close)

        def note_result(result: Result) -> None:
            objects.note(result)
            on_result(result)

        delivery = Delivery(config.device, note_result)

        def emit(fact: Fact, model: str | None = None) -> None:
            delivery.add_event(Event(time.time(), fact, model))

        running = Running(config)
        feed = Feed()
        cameras = _make_cameras(running, delivery, feed, crashes, resources)
        records = open_command_records(config.state_dir, resources)
        uploads = Uploads(lambda: running.connection, name_chunk, MAX_CHUNK_BYTES)
        recordings, certificate = RecordingServer(running, feed, emit, crashes), find_certificate(config)
        reporter = StatusReporter(
            running, cameras, delivery, crashes, records.log.describe, lambda: uploads.counts,
            recordings.describe, certificate,
        )  # fmt: skip
        restart = partial(restart_by_command, notify, stop)
        editing = make_editing(loaded, config_path, running, adjust, refused, emit, restart, crashes)
        snapshots = Snapshots(running, cameras, config.pictures)
        pictures = PictureSender(running, snapshots, crashes)
        objects = ObjectEvents(
            running,
            delivery,
            OpenObjects(config.state_dir),
            TrackforgeTracker,
            ObjectPictures(pictures),
            crashes,
        )
        installs = Installs(running, uploads, run_in_background)
        handlers = make_command_handlers(running, reporter, restart, editing.editor, snapshots, installs)
        under_way = UnderWay(crashes)
        port = make_command_port(config, handlers, records, under_way, crashes)
        reloader = make_reloader(
            editing,
            running,
            cameras,
            delivery,
            notify,
            crashes,
            open_model=partial(
                open_model,
                delivery=delivery,
                crashes=crashes,
                hand_over=editing.promoted.put,
                in_force=lambda: running.config,
                tap=feed,
                trace=open_traces(config, resources),
            ),
            open_connection=partial(
                open_connection,
                outboxes=outboxes,
                handlers=handlers,
                used=records.used,
                note=records.note,
                unanswered=records.unanswered,
                under_way=under_way,
                find_commands=lambda: running.connection.commands,
                crashes=crashes,
            ),
            configure_log=configure_log_as_set,
            emit=emit,
            restart=restart,
        )
        running.connection = _open_connection(reloader, running)
        connection = running.connection
        delivery.use_channels(connection.topics, connection.channels, connection.answer)
        trends = Trends(running, cameras, delivery, crashes)
        servers = make_servers(
            running, reporter, trends, cameras, delivery, snapshots, objects, port, certificate, crashes,
            resources,
        )  # fmt: skip
        return Daemon(
            running=running,
            cameras=cameras,
            reloader=reloader,
            reporter=reporter,
            trends=trends,
            delivery=delivery,
            home_assistant=HomeAssistant(running, pictures.request, crashes),
            pictures=pictures,
            objects=objects,
            under_way=under_way,
            listeners=Listeners(servers, running),
            recordings=recordings,
            watch=editing.watch,
            trial=editing.trial,
            notify=notify,
            emit=emit,
            stop_request=stop,
            resources=resources.pop_all(),
        )


def _open_connection(reloader: ConfigReloader, running: Running) -> BrokerConnection:
    """The first connection; where a caller's key file is damaged, commands are off and inference goes on.

    In safe mode it may be none at all. What is not there then differs from the file, so that an edit brings it back.
    """
    config, off = running.config, CommandsConfig()
    try:
        return reloader.open_connection(config)
    except ConfigError as err:
        if config.mqtt is None or not (config.commands.keys or config.is_safe_mode):
            raise
        log.error("no command is obeyed", reason=str(err))
        running.set_config_problem(f"no command is obeyed: {err}")
        mqtt = config.mqtt.model_copy(update={"commands": False})
        less = config.model_copy(update={"mqtt": mqtt, "commands": off})
    try:
        connection = reloader.open_connection(less)
    except ConfigError as err:
        if not config.is_safe_mode:
            raise
        log.error("no broker is used", reason=str(err))
        less = config.model_copy(update={"mqtt": None, "commands": off})
        connection = reloader.open_connection(less)
    if config.is_safe_mode:
        running.config = less
    return connection


def _make_cameras(
    running: Running, delivery: Delivery, feed: Feed, crashes: Crashes, resources: ExitStack
) -> Cameras:
    """No stream is open yet. The limits of pictures are those of the start: an edit of them needs a restart."""
    streams, pictures = running.config.state_dir / "streams", running.config.pictures
    answered, lines = AnsweredFolders(streams, delivery), InputLines()
    resources.callback(answered.close)

    def open_one(
        stream: str, section: StreamConfig, first_seq: int, find_pipeline: Callable[[], Pipeline]
    ) -> Source:
        connection = running.connection
        if isinstance(section, SensorConfig):
            # Here: a box with cameras loads none of the formats of sensors.
            from edge_runtime.daemon.wiring.sensors import make_spec_finder, open_sensor

            find_spec = make_spec_finder(find_pipeline, stream, section)
            return open_sensor(
                stream,
                section,
                first_seq,
                connection=connection,
                answered=answered,
                lines=lines,
                find_spec=find_spec,
                max_bytes=pictures.max_file_mib << 20,
            )
        return open_source(
            stream, section, first_seq, connection=connection, answered=answered, pictures=pictures
        )

    return Cameras(open_one, streams, crashes, feed.offer_frame)


def configure_log_as_set(config: Config) -> None:
    """Set up the log as the configuration says; its secrets are hidden from then on, in all that leaves the process."""
    PROCESS.learn(secrets_of(config, os.environ))
    chosen = config.log.format
    if chosen == "auto":
        chosen = "console" if sys.stderr.isatty() else "json"
    configure_log(config.log.level, chosen)


def stop_on_signals(daemon: Daemon) -> None:
    """SIGTERM and SIGINT drain and end the daemon, SIGHUP has it look at its configuration.

    SIGABRT, which systemd sends when the watchdog was not fed, prints where every thread hangs.
    """
    faulthandler.enable()
    signal.signal(signal.SIGHUP, lambda *_: daemon.look_at_config())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
