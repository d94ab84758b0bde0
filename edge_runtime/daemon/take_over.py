"""Lets the parts that an edit has opened take over from those that run. Nothing can fail here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_runtime.config import Changes, Config
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.running import Running
from edge_runtime.messaging.connection import BrokerConnection
from edge_runtime.messaging.delivery import Delivery


@dataclass(frozen=True, slots=True)
class TakeOver:
    """For the main thread."""

    running: Running
    cameras: Cameras
    delivery: Delivery
    configure_log: Callable[[Config], None]

    def replace(
        self,
        new: Config,
        plan: Changes,
        models: Mapping[str, ModelRuntime],
        connection: BrokerConnection | None,
    ) -> None:
        """Replace what changed; streams that changed are closed before and opened again after.

        The others stay open when their model is replaced: the new one begins when the old one has answered its frames.
        """
        running = self.running
        of_connection = {
            stream for stream, section in new.streams.items() if connection and section.is_over_mqtt
        }
        streams = sorted(plan.streams | of_connection)
        for stream in streams:
            self.cameras.close(stream)
        for name in models.keys() & running.models.keys():
            models[name].pipeline.continue_counts(running.models[name].pipeline)
        self.cameras.move(
            {
                stream: models[known.model].pipeline
                for stream, known in running.config.streams.items()
                if known.enabled and known.model in models and stream not in streams
            }
        )
        self._replace_models(plan.models, models)
        if connection is not None:
            self._replace_connection(connection)
        for runtime in running.models.values():
            runtime.reconfigure(new)
        self.configure_log(new)
        for stream in streams:
            section = new.streams.get(stream)
            if section is not None and section.enabled:
                self.cameras.open(stream, section, running.models[section.model].pipeline)

    def _replace_models(self, names: frozenset[str], opened: Mapping[str, ModelRuntime]) -> None:
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
                old.stop("the model was taken out of the configuration")

    def _replace_connection(self, connection: BrokerConnection) -> None:
        """Leave the old broker and connect to the new one; what waits in the outboxes goes there."""
        old = self.running.connection
        self.delivery.use_channels(connection.topics, connection.channels, connection.answer)
        self.running.connection = connection
        old.stop(drain_s=1.0)
        if connection.commands is not None and old.commands is not None:
            connection.commands.continue_counts(old.commands)
        connection.start()
