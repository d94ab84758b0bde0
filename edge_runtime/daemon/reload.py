"""Applies an edit of the configuration to the running daemon, in two steps.

First everything that can fail (models are loaded and self-tested, broker settings checked) is opened in a thread while
the old parts run: that may take longer than the watchdog waits. Then the main thread lets the new parts take over. A
bad edit leaves everything as it was.
"""

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.config import Changes, Config, Effect, changes, merge_in_force
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.running import Running
from edge_runtime.errors import ConfigError, EdgeRuntimeError
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import ConfigApplied, ConfigRefused, Event, Fact
from edge_runtime.system.camera_address import CameraKind
from edge_runtime.system.supervised_thread import Crashes
from edge_runtime.system.systemd import SystemdNotify

Edits = queue.SimpleQueue[Config | EdgeRuntimeError]
"""Valid configurations, and what is wrong with those that are none."""
_Opened = tuple[dict[str, ModelRuntime], BrokerConnection | None]
"""The new parts, ready while the old ones run."""


@dataclass(frozen=True, slots=True)
class _Edit:
    """An edit under way."""

    config: Config
    plan: Changes
    opened: Future[_Opened]


@dataclass(kw_only=True)
class ConfigReloader:
    """Takes edits from the queue one after the other; all methods are the main thread's."""

    running: Running
    cameras: Cameras
    delivery: Delivery
    notify: SystemdNotify
    edits: Edits
    crashes: Crashes
    open_model: Callable[[Config, str], ModelRuntime]
    """Load, self-test and wire one model; nothing runs yet. Raises BundleError, EngineError, StateError."""
    open_connection: Callable[[Config], BrokerConnection]
    """Broker client, commands and channels, not started. Raises ConfigError, StateError."""
    configure_log: Callable[[Config], None]
    keep_config: Callable[[Config], None]
    """Remembers a configuration that is in force, for a start that cannot use the file."""
    run_in_background: Callable[[Callable[[], Any]], Future[Any]]
    """Runs the opening at a lower priority than live frames and the main thread."""
    _edit: _Edit | None = field(default=None, init=False)

    def follow_edits(self) -> None:
        """Begin with the next edit, or end the one under way; never waits for it."""
        if self._edit is None and not self.edits.empty():
            self._begin(self.edits.get())
        if self._edit is not None and self._edit.opened.done():
            edit, self._edit = self._edit, None
            self._end(edit)

    def _begin(self, edit: Config | EdgeRuntimeError) -> None:
        if isinstance(edit, EdgeRuntimeError):
            problems = edit.problems if isinstance(edit, ConfigError) else (edit,)
            self._refuse(str(edit), *map(str, problems))
            return
        plan, new = changes(self.running.config, edit), merge_in_force(self.running.config, edit)
        self.notify.reloading()
        self._edit = _Edit(new, plan, self.run_in_background(lambda: self._open(new, plan)))

    def _end(self, edit: _Edit) -> None:
        try:
            opened = edit.opened.result()
        except EdgeRuntimeError as err:
            self._refuse(str(err), str(err))
        except Exception as err:  # noqa: BLE001 - thread boundary of the opening: logged and counted
            self.crashes.note("config-edit")
            problem = f"failed unexpectedly: {err!r}"
            self._refuse(problem, f"{problem}; the log says why")
        else:
            self._take_over(edit, opened)
            self.running.config, self.running.config_problem = edit.config, None
            self._emit(ConfigApplied(tuple(edit.plan), edit.plan.needs_restart))
            self.keep_config(edit.config)
        self.notify.ready()

    def _refuse(self, problem: str, *problems: str) -> None:
        self.running.config_problem = problem
        self._emit(ConfigRefused(problems))

    def _open(self, new: Config, plan: Changes) -> _Opened:
        """Open the new parts; when one fails, the models opened before it are closed. The old parts are not touched."""
        models: dict[str, ModelRuntime] = {}
        with ExitStack() as opened:
            for name in sorted(plan.models & new.models.keys()):
                models[name] = self.open_model(new, name)
                opened.callback(models[name].stop)
            connection = self.open_connection(new) if plan.paths(Effect.RECONNECT) else None
            opened.pop_all()
        return models, connection

    def _take_over(self, edit: _Edit, opened: _Opened) -> None:
        """Replace what changed; cameras that changed are closed before and opened again after.

        The others stay open when their model is replaced: the new one begins when the old one has answered its frames.
        """
        (models, connection), new, running = opened, edit.config, self.running
        of_connection = {
            stream
            for stream, camera in new.cameras.items()
            if connection and camera.address.kind is CameraKind.MQTT
        }
        streams = sorted(edit.plan.cameras | of_connection)
        for stream in streams:
            self.cameras.close(stream)
        for name in models.keys() & running.models.keys():
            models[name].pipeline.continue_counts(running.models[name].pipeline)
        for stream, known in running.config.cameras.items():
            if known.enabled and known.model in models and stream not in streams:
                self.cameras.move(stream, models[known.model].pipeline)
        self._replace_models(edit.plan.models, models)
        if connection is not None:
            self._replace_connection(connection)
        for runtime in running.models.values():
            runtime.reconfigure(new)
        self.configure_log(new)
        for stream in streams:
            camera = new.cameras.get(stream)
            if camera is not None and camera.enabled:
                self.cameras.open(stream, camera, running.models[camera.model].pipeline)

    def _replace_models(self, names: frozenset[str], opened: dict[str, ModelRuntime]) -> None:
        running = self.running.models
        for name in sorted(names):
            old, new = running.get(name), opened.get(name)
            if new is not None:
                running[name] = new  # at once: another thread never sees the model missing
                if old is None:
                    new.start()
                else:
                    new.take_over(old)
            elif old is not None:
                del running[name]
                old.stop()

    def _replace_connection(self, connection: BrokerConnection) -> None:
        """Leave the old broker and connect to the new one; what waits in the outboxes goes there."""
        old = self.running.connection
        self.delivery.use_channels(connection.topics, connection.channels)
        self.running.connection = connection
        old.stop(drain_s=1.0)
        connection.start()

    def _emit(self, fact: Fact) -> None:
        self.delivery.add_event(Event(time.time(), fact))
