"""The daemon's life as four verbs: startup, main loop, tick, shutdown. What it is made of is put together in ``app``.

A configuration edit is applied in two steps: first everything that can fail (models are loaded and self-tested, broker
settings checked) is opened *beside* what runs, in a thread of its own, since that may take longer than the watchdog has
patience; only when all of it stands does the main thread let it take over. A bad edit leaves everything as it was.
"""

import queue
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import IO, Any

import structlog

from edge_runtime.config import Changes, Config, Effect, changes, in_force
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.health import EngineFacts, Facts, Health, WatchdogFeeder, assess
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.errors import CommandError, ConfigError, EdgeRuntimeError
from edge_runtime.http import HttpServer
from edge_runtime.inference.scheduler import BatchPolicy
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.events import ConfigApplied, ConfigRefused, Event, Fact
from edge_runtime.recalibration.task import TaskRequest
from edge_runtime.system.camera_address import CameraKind
from edge_runtime.system.supervised_thread import Crashes
from edge_runtime.system.systemd import SystemdNotify

log = structlog.get_logger()

TICK_S = 0.25
STATE_EVERY_S = 2.0  # the retained state must not lag behind the real one by more than 5 s
MODEL_STOP_S = 5.0
ANSWER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class DaemonParts:
    """What a daemon is made of; the factories are called again when the configuration changes."""

    open_model: Callable[[Config, str], ModelRuntime]
    """Load, self-test and wire one model; nothing runs yet. Raises BundleError, EngineError, StateError."""
    batch_policy: Callable[[Config, str], BatchPolicy]
    configure_log: Callable[[Config], None]
    cameras: Cameras
    delivery: Delivery
    open_connection: Callable[[Config, "Daemon"], BrokerConnection]
    """Broker client, commands and channels, not started. Raises ConfigError, StateError."""
    close_outboxes: Callable[[], None]
    open_http: Callable[[Config, "Daemon"], HttpServer | None]
    run_in_background: Callable[[Callable[[], Any]], Future[Any]]
    """Runs what an edit opens beside live frames and this daemon's own duties."""
    watch: ConfigWatcher | None
    notify: SystemdNotify
    crashes: Crashes
    state_lock: IO[bytes]
    """Held open: two daemons must not share a state directory."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """What an edit needs, ready beside what runs."""

    models: dict[str, ModelRuntime]
    connection: BrokerConnection | None


@dataclass(frozen=True, slots=True)
class _Edit:
    """An edit under way."""

    config: Config
    plan: Changes
    opened: Future[_Opened]


class Daemon:
    """One running edge box."""

    def __init__(self, config: Config, parts: DaemonParts) -> None:
        self.config = config
        self.delivery = parts.delivery
        self._parts = parts
        self._models: dict[str, ModelRuntime] = {}
        self.connection = parts.open_connection(config, self)
        self.delivery.go_through(self.connection.topics, self.connection.channels)
        self._http: HttpServer | None = None
        self._edits: queue.SimpleQueue[Config | ConfigError] = queue.SimpleQueue()
        self._edit: _Edit | None = None
        # A queue and not an Event: a signal handler may interrupt this very thread inside Event.wait, whose lock it
        # would then wait for, for ever. SimpleQueue.put is made for that.
        self._stops: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._fatal: str | None = None
        self._is_stopping = False
        self.config_problem: str | None = None
        self._must_look = False
        self._started_at_s, self._started_at_wall_s = time.monotonic(), time.time()
        self._state_at_s = 0.0
        self._last_state: bytes | None = None
        watchdog_s = parts.notify.watchdog_s
        self._feeder = None if watchdog_s is None else WatchdogFeeder(watchdog_s)

    # ---- life ----------------------------------------------------------------------------------------------

    def run(self, for_s: float | None = None) -> int:
        """Live until asked to stop (or for ``for_s`` seconds); gives the exit code.

        Raises:
            BundleError, EngineError, StateError, HttpUnavailable: it cannot start; what had been started is ended.
        """
        try:
            self.startup()
            self.main_loop(for_s)
        finally:
            self.shutdown()
        if self._fatal is not None:
            log.error("stopped because the daemon cannot work", reason=self._fatal)
        return 70 if self._fatal is not None else 0

    def startup(self) -> None:
        """Models first (a bad bundle must stop the start), then cameras; READY once all self-tests have passed."""
        parts = self._parts
        for name in self.config.models:
            self._models[name] = parts.open_model(self.config, name)
        for runtime in self._models.values():
            runtime.start()
        for stream, camera in self.config.cameras.items():
            if camera.enabled:
                parts.cameras.open(stream, camera, self._models[camera.model].pipeline)
        self._http = parts.open_http(self.config, self)
        parts.notify.ready()
        log.info("ready", models=[runtime.bundle.id for runtime in self._models.values()])
        self.connection.start()
        if parts.watch is not None:
            parts.watch.start()

    def main_loop(self, for_s: float | None) -> None:
        """Tick until stopped."""
        end_s = None if for_s is None else time.monotonic() + for_s
        while not self._is_stopped_within(TICK_S):
            self.tick(time.monotonic())
            if end_s is not None and time.monotonic() >= end_s:
                return
            if self._parts.cameras.are_finished() and all(
                r.pipeline.is_idle() for r in self._models.values()
            ):
                log.info("all files have been played")
                return

    def tick(self, now_s: float) -> None:
        """Apply edits, feed the watchdog, publish the state."""
        if self._must_look and self._parts.watch is not None:
            self._must_look = False
            self._parts.watch.check_now(again=self.config_problem is not None)
        self._follow_edits()
        if self._feeder is not None and self._feeder.is_due(self._engine_facts(), now_s):
            self._parts.notify.watchdog()
        if self.connection.client is not None and now_s - self._state_at_s >= STATE_EVERY_S:
            self._publish_state(now_s)

    def shutdown(self) -> None:
        """Take in nothing more, answer what was taken in, deliver what can be delivered, leave the rest on disk."""
        parts, self._is_stopping = self._parts, True
        parts.notify.stopping()
        if parts.watch is not None:
            parts.watch.stop()
        parts.cameras.stop_all()
        for runtime in self._models.values():
            _note_end(runtime.name, has_ended=runtime.stop(MODEL_STOP_S))
        self.connection.stop(self.config.outbox.drain_timeout_s)
        parts.close_outboxes()
        if self._http is not None:
            self._http.stop()
        parts.state_lock.close()
        log.info("stopped")

    def stop(self) -> None:
        """Ask the daemon to end; from a signal handler or any thread."""
        self._stops.put(None)

    def fail(self, reason: str) -> None:
        """Something cannot be repaired from inside: end, and let systemd restart the daemon."""
        self._fatal = reason
        self.stop()

    # ---- what others ask -----------------------------------------------------------------------------------

    def edited(self, edit: Config | ConfigError) -> None:
        """The configuration file changed; applied by the next tick."""
        self._edits.put(edit)

    def look_at_config(self) -> None:
        """Read the configuration file again now, as after SIGHUP."""
        self._must_look = True

    def request(self, asked: TaskRequest, model: str | None) -> dict[str, Any]:
        """Hand a command to a model's side loop and wait for what it says.

        Raises:
            CommandError: unknown model or stream, or not possible now.
        """
        runtime = self._model(model)
        controller = runtime.controller
        if controller is None:
            raise CommandError("recalibration is turned off for this model in the configuration")
        streams = [name for name, camera in self.config.cameras.items() if camera.model == runtime.name]
        if asked.stream is not None and asked.stream not in streams:
            raise CommandError(
                f"no stream {asked.stream!r} of model {runtime.name}; it has: {', '.join(streams)}"
            )
        answer = controller.request(asked)
        try:
            return answer.result(timeout=ANSWER_TIMEOUT_S)
        except TimeoutError as err:
            raise CommandError("the calibration loop is busy; try again") from err

    def health(self) -> Health:
        """The verdict of now."""
        broker = None if self.connection.client is None else self.connection.client.status()
        channels = [channel.status() for channel in self.delivery.channels]
        facts = Facts(
            engines=self._engine_facts(),
            sources=self._parts.cameras.facts(),
            is_stopping=self._is_stopping,
            broker_connected=None if broker is None else broker.is_connected,
            broker_problem=None if broker is None else broker.problem,
            outbox_pending=sum(channel["pending"] for channel in channels),
            outbox_writable=all(channel["durable"] for channel in channels),
            results_lost=sum(channel["dropped"] for channel in channels),
            free_disk_mib=self._free_disk_mib(),
            config_problem=self.config_problem,
        )
        return assess(facts, time.monotonic())

    def status(self) -> dict[str, Any]:
        """Everything, for ``/status``, the command ``status`` and the summary."""
        models = dict(self._models)  # an edit may replace some while another thread asks
        first = [r.pipeline.metrics.first_result_at_s for r in models.values()]
        known = [at_s for at_s in first if at_s is not None]
        channels = {channel.name: channel.status() for channel in self.delivery.channels}
        broker = None if self.connection.client is None else self.connection.client.status()
        return {
            "device": self.config.device,
            "uptime_s": round(time.monotonic() - self._started_at_s, 1),
            "first_result_s": round(min(known) - self._started_at_s, 2) if known else None,
            "health": self.health().as_dict(),
            "models": {name: runtime.status() for name, runtime in models.items()},
            "cameras": self._camera_status(),
            "delivery": channels,
            "broker": None
            if broker is None
            else {"connected": broker.is_connected, "problem": broker.problem},
            "config_problem": self.config_problem,
            "worker_failures": self._parts.crashes.total,
            "failures_by_thread": self._parts.crashes.by_thread(),
        }

    def _camera_status(self) -> dict[str, dict[str, Any]]:
        """With the priority of now: it may change while the camera stays open."""
        known = self.config.cameras
        return {
            stream: {**figures, "priority": known[stream].priority if stream in known else None}
            for stream, figures in self._parts.cameras.status().items()
        }

    def history(self) -> list[tuple[float, Fact]]:
        """The newest events with the time since the start in seconds, oldest first."""
        return [(event.at_wall_s - self._started_at_wall_s, event.fact) for event in self.delivery.events()]

    # ---- inside --------------------------------------------------------------------------------------------

    def _is_stopped_within(self, timeout_s: float) -> bool:
        try:
            self._stops.get(timeout=timeout_s)
        except queue.Empty:
            return False
        return True

    def _model(self, name: str | None) -> ModelRuntime:
        models = dict(self._models)
        if name is None and len(models) == 1:
            return next(iter(models.values()))
        if name not in models:
            problem = f"no model {name!r}; this device has" if name else "name a model"
            raise CommandError(f"{problem}: {', '.join(models)}")
        return models[name]

    def _engine_facts(self) -> tuple[EngineFacts, ...]:
        return tuple(
            EngineFacts(
                model=name,
                self_test_passed=True,  # a model that fails it never becomes a runtime
                started_at_s=runtime.pipeline.metrics.started_at_s,
                last_progress_at_s=runtime.pipeline.metrics.last_progress_at_s,
                due_since_s=runtime.pipeline.due_since_s(),
                errors_in_a_row=runtime.pipeline.slot.failures_in_a_row,
            )
            for name, runtime in list(self._models.items())
        )

    def _free_disk_mib(self) -> float | None:
        try:
            return shutil.disk_usage(self.config.state_dir).free / 2**20
        except OSError:
            return None

    def _publish_state(self, now_s: float) -> None:
        assert self.connection.client is not None
        self._state_at_s = now_s
        state = {
            "health": self.health().as_dict(),
            "models": {name: str(r.pipeline.slot.generation) for name, r in self._models.items()},
        }
        payload = encode_object(state)
        if payload != self._last_state:
            self._last_state = payload
            self.connection.client.set_state(payload)

    def _follow_edits(self) -> None:
        """Begin with the next edit, or end the one under way: live frames and this thread's duties go on meanwhile."""
        if self._edit is None and not self._edits.empty():
            self._begin_edit(self._edits.get())
        if self._edit is not None and self._edit.opened.done():
            edit, self._edit = self._edit, None
            self._end_edit(edit)

    def _begin_edit(self, edit: Config | ConfigError) -> None:
        if isinstance(edit, ConfigError):
            self._refuse(str(edit), [str(problem) for problem in edit.problems])
            return
        plan, new = changes(self.config, edit), in_force(self.config, edit)
        self._parts.notify.reloading()
        self._edit = _Edit(new, plan, self._parts.run_in_background(lambda: self._open_beside(new, plan)))

    def _end_edit(self, edit: "_Edit") -> None:
        try:
            opened = edit.opened.result()
        except EdgeRuntimeError as err:
            self._refuse(str(err), [str(err)])
        except Exception as err:
            log.exception("configuration edit failed unexpectedly")
            self._refuse(f"failed unexpectedly: {err!r}", [f"failed unexpectedly: {err!r}; the log says why"])
        else:
            self._take_over(edit, opened)
            self.config, self.config_problem = edit.config, None
            self._note_applied(edit.plan)
        self._parts.notify.ready()

    def _refuse(self, problem: str, problems: list[str]) -> None:
        self.config_problem = problem
        self._emit(ConfigRefused(tuple(problems)))

    def _open_beside(self, new: Config, plan: Changes) -> "_Opened":
        """Everything the edit needs that can fail; nothing of what runs is touched, nothing is left when it fails."""
        models: dict[str, ModelRuntime] = {}
        try:
            for name in sorted(plan.models & new.models.keys()):
                models[name] = self._parts.open_model(new, name)
            connection = self._parts.open_connection(new, self) if plan.paths(Effect.RECONNECT) else None
        except BaseException:
            for runtime in models.values():
                runtime.stop(timeout_s=0.0)
            raise
        return _Opened(models, connection)

    def _take_over(self, edit: "_Edit", opened: "_Opened") -> None:
        """Replace what changed; cameras that changed are closed before and opened again after.

        The others stay open when their model is replaced: the new one begins when the old one has answered what it has.
        """
        new, models, connection = edit.config, opened.models, opened.connection
        of_connection = {
            stream
            for stream, camera in new.cameras.items()
            if connection and camera.address.kind is CameraKind.MQTT
        }
        streams = sorted(edit.plan.cameras | of_connection)
        for stream in streams:
            self._parts.cameras.close(stream)
        for name in models.keys() & self._models.keys():
            models[name].pipeline.count_on(self._models[name].pipeline)
        for stream, known in self.config.cameras.items():
            if known.enabled and known.model in models and stream not in streams:
                self._parts.cameras.move(stream, models[known.model].pipeline)
        self._replace_models(edit.plan.models, models)
        if connection is not None:
            self._replace_connection(connection)
        self._apply_live(new)
        for stream in streams:
            camera = new.cameras.get(stream)
            if camera is not None and camera.enabled:
                self._parts.cameras.open(stream, camera, self._models[camera.model].pipeline)

    def _replace_models(self, names: frozenset[str], opened: dict[str, ModelRuntime]) -> None:
        for name in sorted(names):
            old, new = self._models.pop(name, None), opened.get(name)
            if new is not None:
                self._models[name] = new
            if old is None and new is not None:
                new.start()
            elif old is not None:
                has_ended = old.stop(MODEL_STOP_S) if new is None else new.take_over(old, MODEL_STOP_S)
                _note_end(name, has_ended=has_ended)

    def _replace_connection(self, connection: BrokerConnection) -> None:
        """Leave the old broker and connect to the new one; what waits in the outboxes goes there."""
        old = self.connection
        self.delivery.go_through(connection.topics, connection.channels)
        self.connection, self._last_state = connection, None
        old.stop(drain_s=1.0)
        connection.start()

    def _apply_live(self, new: Config) -> None:
        """Values that count from now on; setting one that did not change does nothing."""
        for name, runtime in self._models.items():
            runtime.pipeline.set_policy(self._parts.batch_policy(new, name))
            if runtime.controller is not None:
                runtime.controller.reconfigure(new.recalibration, new.drift)
        self._parts.configure_log(new)

    def _note_applied(self, plan: Changes) -> None:
        changed = tuple(change.path for change in plan.items)
        waiting = tuple(path for path in changed if path in plan.needs_restart)
        self._emit(ConfigApplied(changed, waiting))

    def _emit(self, fact: Fact) -> None:
        self._parts.delivery.event(Event(time.time(), fact))


def _note_end(model: str, *, has_ended: bool) -> None:
    if not has_ended:
        log.warning("inference did not end in time", model=model)
