"""From the configuration to the destinations of results and the source of commands."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

from edge_runtime.config import Config
from edge_runtime.daemon.config_editor import ConfigEditor
from edge_runtime.daemon.installs import Installs
from edge_runtime.daemon.running import Running, choose_model_name
from edge_runtime.daemon.snapshots import Snapshots
from edge_runtime.daemon.status import StatusReporter
from edge_runtime.errors import (
    CommandError,
    ConfigError,
    EdgeRuntimeError,
    ExtraMissing,
    KeyUnusable,
    Problem,
)
from edge_runtime.messaging.commands.callers import Caller, Callers, Request
from edge_runtime.messaging.commands.command_keys import load_command_key
from edge_runtime.messaging.commands.command_log import LOG_FILE, CommandLog, read_log
from edge_runtime.messaging.commands.later import Later, Progress
from edge_runtime.messaging.commands.listener import CommandListener
from edge_runtime.messaging.commands.port import CommandPort
from edge_runtime.messaging.commands.protocol import CommandHandler, CommandPolicy, VerbHandler
from edge_runtime.messaging.commands.records import Entry, UsedTransactions
from edge_runtime.messaging.commands.request import (
    InstallArguments,
    LogsArguments,
    SetConfigArguments,
    SnapshotArguments,
    TaskArguments,
    UndoConfigArguments,
)
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.commands.unanswered import FOLDER, Unanswered
from edge_runtime.messaging.commands.under_way import UnderWay
from edge_runtime.messaging.commands.used_file import UsedFile
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Channel
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.settings import make_mqtt_settings
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.outbox.outbox import Outbox, OutboxLimits
from edge_runtime.messaging.outbox.publisher import TICK_S, Publisher, Sink
from edge_runtime.messaging.sinks.file_sink import GATHER_S, KEEP, FileSink
from edge_runtime.messaging.sinks.mqtt_sink import MqttSink
from edge_runtime.recalibration.task import Approval, TaskRequest, Verb
from edge_runtime.system.log import RECENT
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.supervised_thread import Crashes

A = TypeVar("A")
T = TypeVar("T")

CONFIGURATION = "configuration"
"""Edits and a restart are carried out in turn."""
LOOP = "recalibration of {model}"
"""So are the commands of a model's recalibration loop, which may be busy."""


class Outboxes:
    """The outboxes of a state directory, opened when first needed and kept for the daemon's life."""

    def __init__(self, config: Config, crashes: Crashes) -> None:
        self._folder, self._crashes = config.state_dir, crashes
        self._limits = OutboxLimits(config.outbox.max_mib * 2**20, config.outbox.max_age_h * 3600)
        self._open: dict[str, Outbox] = {}

    def get(self, name: str) -> Outbox:
        """The outbox in the file of this name.

        Raises:
            StateError: the state directory cannot be used.
        """
        if name not in self._open:
            self._open[name] = Outbox(self._folder / name, self._crashes, self._limits)
        return self._open[name]

    def close(self) -> None:
        """Commit the queued rows and close all."""
        for outbox in self._open.values():
            outbox.close()


def open_connection(
    config: Config,
    outboxes: Outboxes,
    handlers: Mapping[str, VerbHandler],
    used: UsedTransactions,
    note: Callable[[Entry], None],
    unanswered: Unanswered,
    under_way: UnderWay,
    find_commands: Callable[[], CommandListener | None],
    crashes: Crashes,
) -> BrokerConnection:
    """Broker client, commands and one durable channel per destination; nothing is started.

    ``find_commands`` gives the listener in force, for answers that come when this connection is gone.

    Raises:
        ConfigError: the broker's settings cannot be used.
        StateError: the state directory cannot be used.
    """
    topics = Topics(config.mqtt.prefix if config.mqtt else "edge", config.device)
    client = commands = None
    if config.mqtt is not None:
        client = MqttClient(make_mqtt_settings(config.device, config.mqtt), crashes)
    channels = tuple(_make_channels(config, topics, client, outboxes, crashes))
    if client is not None and config.mqtt is not None:
        policy = CommandPolicy(config.mqtt.commands, make_callers(config))
        make_handler = partial(CommandHandler, handlers, policy, used, note)
        commands = CommandListener(
            client,
            make_handler,
            topics,
            crashes,
            config.mqtt.response_prefixes,
            config.commands.groups,
            under_way,
            find_commands,
            unanswered,
        )
    prefixes = config.mqtt.response_prefixes if config.mqtt is not None else ()
    return BrokerConnection(topics, client, commands, channels, prefixes)


@dataclass(frozen=True, slots=True)
class CommandRecords:
    """What the state directory keeps of commands."""

    log: CommandLog
    used: UsedFile
    unanswered: Unanswered

    def note(self, entry: Entry) -> None:
        """Add a line to the log, without secrets."""
        self.log.note(PROCESS.value(entry))


def open_command_records(state_dir: Path, resources: ExitStack) -> CommandRecords:
    """With what the callers hear whose changes an earlier process left."""
    records = CommandRecords(
        CommandLog(state_dir / LOG_FILE),
        UsedFile(state_dir / "commands.used"),
        Unanswered(state_dir / FOLDER),
    )
    resources.callback(records.log.close)
    resources.callback(records.used.close)
    records.unanswered.settle(
        lambda: read_log(state_dir / LOG_FILE).entries, records.used, records.note, time.time()
    )
    return records


def make_command_port(
    config: Config,
    handlers: Mapping[str, VerbHandler],
    records: CommandRecords,
    under_way: UnderWay,
    crashes: Crashes,
) -> CommandPort | None:
    """The way of commands over HTTP; None where they are turned off."""
    if not (config.http.enabled and config.http.commands):
        return None
    callers = Callers(device=config.device, groups=frozenset(config.commands.groups), unsigned=None)
    policy = CommandPolicy(is_enabled=True, callers=callers)
    make_handler = partial(CommandHandler, handlers, policy, records.used, records.note)
    return CommandPort(make_handler, under_way, crashes, records.unanswered)


def make_callers(config: Config) -> Callers:
    """Who may command this device, by the section ``commands``.

    Raises:
        ConfigError: a key cannot be used, or the library that reads them is not installed.
    """
    signers: dict[str, Caller] = {}
    problems = list[Problem]()
    for name, one in config.commands.keys.items():
        line = config.line_of("commands", "keys", name, "file")
        try:
            key = load_command_key(one.file)
        except ExtraMissing as err:
            problems.append(Problem(f"commands.keys.{name}", line, "a key", str(err)))
            continue
        except KeyUnusable as err:
            problems.append(
                Problem(f"commands.keys.{name}.file", line, err.found, f"{err.expected}. {err.fix}")
            )
            continue
        if key.id in signers:
            found = f"the key of {signers[key.id].name!r}"
            problems.append(Problem(f"commands.keys.{name}.file", line, found, "each key once"))
        signers[key.id] = Caller(name, Role.of(one.role), key)
    if problems:
        raise ConfigError("section commands", tuple(problems))
    unsigned = config.commands.unsigned_role
    return Callers(
        device=config.device,
        groups=frozenset(config.commands.groups),
        signers=signers,
        unsigned=None if unsigned is None else Role.of(unsigned),
    )


def _make_channels(
    config: Config, topics: Topics, client: MqttClient | None, outboxes: Outboxes, crashes: Crashes
) -> Iterator[Channel]:
    if client is not None:
        yield _make_channel("mqtt", outboxes.get("outbox.db"), MqttSink(client), topics, crashes, TICK_S)
    path = config.sink_path()
    if path is not None:
        max_mib = config.sink.max_mib if config.sink is not None else 64
        sink = FileSink(path, max_bytes=max_mib * 2**20 // (KEEP + 1))
        yield _make_channel("file", outboxes.get("outbox-file.db"), sink, topics, crashes, GATHER_S)


def _make_channel(
    name: str, outbox: Outbox, sink: Sink, topics: Topics, crashes: Crashes, tick_s: float
) -> Channel:
    side_topics, thread = frozenset({topics.event}), f"publisher-{name}"
    publisher = Publisher(outbox, sink, crashes, name=thread, side_topics=side_topics, tick_s=tick_s)
    return Channel(name, outbox, publisher)


def make_command_handlers(
    running: Running,
    reporter: StatusReporter,
    restart: Callable[[], Mapping[str, Any]],
    editor: ConfigEditor,
    snapshots: Snapshots,
    installs: Installs,
) -> dict[str, VerbHandler]:
    """What each verb does; ``restart`` ends the process, and raises CommandError where nobody starts it again."""
    handlers: dict[str, VerbHandler] = {verb: partial(_request, running, verb) for verb in get_args(Verb)}
    handlers["rollout"] = partial(_steer_rollout, running)
    handlers["get-config"] = lambda _: editor.read()
    handlers["set-config"] = partial(_set_config, editor)
    handlers["config-history"] = lambda _: editor.list_history()
    handlers["undo-config"] = partial(_undo_config, editor)
    handlers["install"] = partial(_install, installs)
    handlers["bless"] = handlers["approve"]  # the old name, for one release
    handlers["logs"] = _read_log
    handlers["restart"] = lambda _: Later(lambda _: restart(), CONFIGURATION)
    cleaned = {verb: partial(_answer_without_secrets, handler) for verb, handler in handlers.items()}
    return {
        **cleaned,
        # Before it is a mapping, so that none of its keys is taken for a secret.
        "status": lambda _: asdict(PROCESS.value(reporter.status())),
        # In the letters of a picture a short secret may stand by chance.
        "snapshot": partial(_take_snapshot, snapshots),
    }


def _answer_without_secrets(handler: VerbHandler, request: Request) -> Mapping[str, Any] | Later:
    answer = _fail_without_secrets(handler, request)
    if not isinstance(answer, Later):
        return PROCESS.value(answer)
    work = answer.work
    return Later(
        lambda progress: PROCESS.value(_fail_without_secrets(work, _Cleaned(progress))), answer.in_turn
    )


def _fail_without_secrets(work: Callable[[A], T], given: A) -> T:
    try:
        return work(given)
    except EdgeRuntimeError as err:
        raise CommandError(PROCESS.text(str(err))) from err


@dataclass(frozen=True, slots=True)
class _Cleaned:
    """Progress without secrets."""

    progress: Progress

    @property
    def is_ending(self) -> bool:
        return self.progress.is_ending

    def report(self, data: Mapping[str, Any]) -> None:
        self.progress.report(PROCESS.value(data))


def _read_log(request: Request) -> dict[str, Any]:
    assert isinstance(request.arguments, LogsArguments)
    return {"lines": RECENT.newest(request.arguments.lines)}


def _take_snapshot(snapshots: Snapshots, request: Request) -> Later:
    given = request.arguments
    assert isinstance(given, SnapshotArguments)
    return Later(lambda progress: _fail_without_secrets(partial(snapshots.take, given), progress))


def _steer_rollout(running: Running, request: Request) -> dict[str, Any]:
    given: Any = request.arguments
    return running.steer_rollout(given.model, given.action, given.version)


def _install(installs: Installs, request: Request) -> Later:
    assert isinstance(request.arguments, InstallArguments)
    return installs.begin(request.arguments)


def _set_config(editor: ConfigEditor, request: Request) -> Later:
    given = request.arguments
    assert isinstance(given, SetConfigArguments)
    return Later(lambda progress: editor.set(given, request.by, progress, request.door), CONFIGURATION)


def _undo_config(editor: ConfigEditor, request: Request) -> Later:
    given = request.arguments
    assert isinstance(given, UndoConfigArguments)
    return Later(lambda progress: editor.undo(given, request.by, progress, request.door), CONFIGURATION)


def _request(running: Running, verb: Verb, request: Request) -> dict[str, Any] | Later:
    """Hand a command to its model; each verb has only some of these arguments."""
    arguments: Any = request.arguments
    names = ("stream", "frames", "patch", "dry_run", "reference")
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    approval = Approval(getattr(arguments, "name", None), getattr(arguments, "expires_days", None))
    task, model = TaskRequest(verb, approval=approval, **given), arguments.model
    if verb == "baselines":
        return running.request(task, model)
    if not isinstance(arguments, TaskArguments) or not arguments.timeout_s:
        turn = LOOP.format(model=choose_model_name(dict(running.models), model))
        return Later(lambda _: running.request(task, model), turn)
    timeout_s = arguments.timeout_s
    return Later(lambda progress: running.follow(task, model, timeout_s, progress))
