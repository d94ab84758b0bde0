"""The state of the daemon for people and machines: health, status, retained state and history. Safe from any thread."""

import shutil
import time
from dataclasses import asdict
from typing import Any

from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.health import Facts, Health, assess
from edge_runtime.daemon.running import Running
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.events import Fact
from edge_runtime.system.supervised_thread import Crashes


class StatusReporter:
    """Reads what the parts of the daemon say about themselves."""

    def __init__(self, running: Running, cameras: Cameras, delivery: Delivery, crashes: Crashes) -> None:
        self._running, self._cameras, self._delivery, self._crashes = running, cameras, delivery, crashes
        self._started_at_s, self._started_at_wall_s = time.monotonic(), time.time()

    def health(self) -> Health:
        """The verdict of now."""
        running, broker = self._running, self._broker() or {}
        channels = [channel.status() for channel in self._delivery.channels]
        facts = Facts(
            engines=running.engine_facts(),
            sources=self._cameras.facts(),
            is_stopping=running.is_stopping,
            broker_connected=broker.get("connected"),
            broker_problem=broker.get("problem"),
            outbox_pending=sum(channel.pending for channel in channels),
            outbox_writable=all(channel.durable for channel in channels),
            results_lost=sum(channel.dropped for channel in channels),
            free_disk_mib=self._free_disk_mib(),
            config_problem=running.config_problem,
            thread_failures=self._crashes.in_a_row(),
        )
        return assess(facts, time.monotonic())

    def status(self) -> dict[str, Any]:
        """Everything, in the names and the order of ``/status``."""
        running, models, crashes = self._running, dict(self._running.models), self._crashes
        first = [runtime.pipeline.metrics.first_result_at_s for runtime in models.values()]
        known = [at_s for at_s in first if at_s is not None]
        return {
            "device": running.config.device,
            "uptime_s": round(time.monotonic() - self._started_at_s, 1),
            # From the start to the first result of any model.
            "first_result_s": round(min(known) - self._started_at_s, 2) if known else None,
            "health": self.health().as_dict(),
            "models": {name: runtime.status() for name, runtime in models.items()},
            "cameras": self._camera_status(),
            "delivery": {channel.name: asdict(channel.status()) for channel in self._delivery.channels},
            "broker": self._broker(),
            "config_problem": running.config_problem,
            "worker_failures": crashes.total,  # unexpected exceptions of all threads
            "failures_by_thread": crashes.by_thread(),
        }

    def state(self) -> bytes:
        """The payload of the retained MQTT state."""
        generations = {
            name: str(runtime.pipeline.slot.generation) for name, runtime in self._running.models.items()
        }
        return encode_object({"health": self.health().as_dict(), "models": generations})

    def history(self) -> list[tuple[float, Fact]]:
        """The newest events with the time since the start in seconds, oldest first."""
        return [(event.at_wall_s - self._started_at_wall_s, event.fact) for event in self._delivery.events()]

    def _camera_status(self) -> dict[str, dict[str, Any]]:
        """With the priority of now: it may change while the camera stays open."""
        known = self._running.config.cameras
        return {
            stream: {**status, "priority": known[stream].priority if stream in known else None}
            for stream, status in self._cameras.status().items()
        }

    def _broker(self) -> dict[str, Any] | None:
        client = self._running.connection.client
        if client is None:
            return None
        return {"connected": client.session is not None, "problem": client.problem}

    def _free_disk_mib(self) -> float | None:
        try:
            return shutil.disk_usage(self._running.config.state_dir).free / 2**20
        except OSError:
            return None
