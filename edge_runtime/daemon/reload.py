"""Applies an edit of the configuration to the running daemon, in two steps.

First everything that can fail (models are loaded and self-tested, broker settings checked) is opened in a thread while
the old parts run: that may take longer than the watchdog waits. Then the main thread lets the new parts take over. A
bad edit leaves everything as it was.
"""

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog

from edge_runtime.config import Changes, Config, Effect, changes, merge_in_force
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.running import Running
from edge_runtime.errors import ConfigError, EdgeRuntimeError
from edge_runtime.inference.scheduler import BatchPolicy
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import ConfigApplied, ConfigRefused, Event, Fact
from edge_runtime.system.camera_address import CameraKind
from edge_runtime.system.systemd import SystemdNotify

log = structlog.get_logger()

Edits = queue.SimpleQueue[Config | ConfigError]
MODEL_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Factories:
    """Make the parts that an edit can replace."""

    open_model: Callable[[Config, str], ModelRuntime]
    """Load, self-test and wire one model; nothing runs yet. Raises BundleError, EngineError, StateError."""
    open_connection: Callable[[Config], BrokerConnection]
    """Broker client, commands and channels, not started. Raises ConfigError, StateError."""
    make_batch_policy: Callable[[Config, str], BatchPolicy]
    configure_log: Callable[[Config], None]
    run_in_background: Callable[[Callable[[], Any]], Future[Any]]
    """Runs the opening at a lower priority than live frames and the main thread."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """The new parts, ready while the old ones run."""

    models: dict[str, ModelRuntime]
    connection: BrokerConnection | None


@dataclass(frozen=True, slots=True)
class _Edit:
    """An edit under way."""

    config: Config
    plan: Changes
    opened: Future[_Opened]


class ConfigReloader:
    """Takes edits from the queue one after the other; all methods are the main thread's."""

    def __init__(
        self,
        running: Running,
        cameras: Cameras,
        delivery: Delivery,
        factories: Factories,
        notify: SystemdNotify,
        edits: Edits,
    ) -> None:
        self._running, self._cameras, self._delivery = running, cameras, delivery
        self._factories, self._notify, self._edits = factories, notify, edits
        self._edit: _Edit | None = None

    def follow_edits(self) -> None:
        """Begin with the next edit, or end the one under way; never waits for it."""
        if self._edit is None and not self._edits.empty():
            self._begin(self._edits.get())
        if self._edit is not None and self._edit.opened.done():
            edit, self._edit = self._edit, None
            self._end(edit)

    def _begin(self, edit: Config | ConfigError) -> None:
        if isinstance(edit, ConfigError):
            self._refuse(str(edit), [str(problem) for problem in edit.problems])
            return
        plan, new = changes(self._running.config, edit), merge_in_force(self._running.config, edit)
        self._notify.reloading()
        self._edit = _Edit(new, plan, self._factories.run_in_background(lambda: self._open(new, plan)))

    def _end(self, edit: _Edit) -> None:
        try:
            opened = edit.opened.result()
        except EdgeRuntimeError as err:
            self._refuse(str(err), [str(err)])
        except Exception as err:
            log.exception("configuration edit failed unexpectedly")
            self._refuse(f"failed unexpectedly: {err!r}", [f"failed unexpectedly: {err!r}; the log says why"])
        else:
            self._take_over(edit, opened)
            self._running.config, self._running.config_problem = edit.config, None
            self._note_applied(edit.plan)
        self._notify.ready()

    def _refuse(self, problem: str, problems: list[str]) -> None:
        self._running.config_problem = problem
        self._emit(ConfigRefused(tuple(problems)))

    def _open(self, new: Config, plan: Changes) -> _Opened:
        """Open the new parts. The old ones are not touched, and nothing is left when this fails."""
        models: dict[str, ModelRuntime] = {}
        try:
            for name in sorted(plan.models & new.models.keys()):
                models[name] = self._factories.open_model(new, name)
            must_reconnect = bool(plan.paths(Effect.RECONNECT))
            connection = self._factories.open_connection(new) if must_reconnect else None
        except BaseException:
            for runtime in models.values():
                runtime.stop(timeout_s=0.0)
            raise
        return _Opened(models, connection)

    def _take_over(self, edit: _Edit, opened: _Opened) -> None:
        """Replace what changed; cameras that changed are closed before and opened again after.

        The others stay open when their model is replaced: the new one begins when the old one has answered its frames.
        """
        new, models, connection = edit.config, opened.models, opened.connection
        running = self._running
        of_connection = {
            stream
            for stream, camera in new.cameras.items()
            if connection and camera.address.kind is CameraKind.MQTT
        }
        streams = sorted(edit.plan.cameras | of_connection)
        for stream in streams:
            self._cameras.close(stream)
        for name in models.keys() & running.models.keys():
            models[name].pipeline.continue_counts(running.models[name].pipeline)
        for stream, known in running.config.cameras.items():
            if known.enabled and known.model in models and stream not in streams:
                self._cameras.move(stream, models[known.model].pipeline)
        self._replace_models(edit.plan.models, models)
        if connection is not None:
            self._replace_connection(connection)
        self._apply_live(new)
        for stream in streams:
            camera = new.cameras.get(stream)
            if camera is not None and camera.enabled:
                self._cameras.open(stream, camera, running.models[camera.model].pipeline)

    def _replace_models(self, names: frozenset[str], opened: dict[str, ModelRuntime]) -> None:
        running = self._running.models
        for name in sorted(names):
            old, new = running.pop(name, None), opened.get(name)
            if new is not None:
                running[name] = new
            if old is None and new is not None:
                new.start()
            elif old is not None:
                has_ended = old.stop(MODEL_STOP_S) if new is None else new.take_over(old, MODEL_STOP_S)
                warn_if_running(name, has_ended=has_ended)

    def _replace_connection(self, connection: BrokerConnection) -> None:
        """Leave the old broker and connect to the new one; what waits in the outboxes goes there."""
        old = self._running.connection
        self._delivery.use_channels(connection.topics, connection.channels)
        self._running.connection = connection
        old.stop(drain_s=1.0)
        connection.start()

    def _apply_live(self, new: Config) -> None:
        """Values that count from now on; setting one that did not change does nothing."""
        for name, runtime in self._running.models.items():
            runtime.pipeline.set_policy(self._factories.make_batch_policy(new, name))
            if runtime.controller is not None:
                runtime.controller.reconfigure(new.recalibration, new.drift)
        self._factories.configure_log(new)

    def _note_applied(self, plan: Changes) -> None:
        changed = tuple(change.path for change in plan.items)
        waiting = tuple(path for path in changed if path in plan.needs_restart)
        self._emit(ConfigApplied(changed, waiting))

    def _emit(self, fact: Fact) -> None:
        self._delivery.add_event(Event(time.time(), fact))


def warn_if_running(model: str, *, has_ended: bool) -> None:
    """Log that a model's inference did not end in time."""
    if not has_ended:
        log.warning("inference did not end in time", model=model)
