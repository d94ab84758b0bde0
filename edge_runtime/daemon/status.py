"""The state of the daemon for people and machines: health, status, retained state and history.

Safe from any thread. No secret is in it.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from platform import python_version

from edge_runtime import __version__
from edge_runtime.daemon.cameras import Cameras, CameraStatus
from edge_runtime.daemon.delivery_watch import DeliveryWatch
from edge_runtime.daemon.health import Facts, Finding, Health, find, judge
from edge_runtime.daemon.model_runtime import ModelStatus
from edge_runtime.daemon.recording_under_way import RecordingStatus
from edge_runtime.daemon.running import Running
from edge_runtime.messaging.delivery import ChannelStatus, Delivery
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.events import Event, Fact
from edge_runtime.serving.certificate import CertificateFiles, describe_end
from edge_runtime.system.process_memory import ProcessMemory, read_process_memory
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.supervised_thread import Crashes

WATCH_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """The connection to the broker."""

    connected: bool
    """Now."""
    problem: str | None
    """Why it is not connected, or what the broker refused last."""
    commands: dict[str, int]
    """Requests since the start, by what became of them."""
    command_log: dict[str, str | int]
    """``head``: hash of the newest entry; ``unwritten``: entries that the disk refused."""
    uploads: dict[str, int]
    """Chunks of bundles since the start: ``taken``, and ``dropped`` where nobody waited for one."""


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """How the configuration came into force."""

    number: int
    """In its history."""
    at: str
    """When it came into force, RFC 3339."""
    by: str
    """Name of a caller's key, ``unsigned``, ``file``, ``start`` or ``undone``."""


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """Everything, in the names and the order of ``/status``."""

    device: str
    """Its name in the configuration."""
    versions: dict[str, str]
    """Of ``edge-runtime`` and ``python``; those of the engines are with their models."""
    uptime_s: float
    """Since the start of the daemon."""
    memory: ProcessMemory | None
    first_result_s: float | None
    """From the start to the first result of any model."""
    health: Health
    safe_mode: bool
    """No camera and no model runs, since the configuration cannot be used."""
    models: dict[str, ModelStatus]
    """By name in the configuration."""
    cameras: dict[str, CameraStatus]
    """Open streams by name."""
    delivery: dict[str, ChannelStatus]
    """By destination: ``mqtt``, ``file``."""
    recording: RecordingStatus | None
    """None while no pictures are recorded."""
    broker: BrokerStatus | None
    """None when no broker is configured."""
    config: ConfigStatus | None
    """None in safe mode, and where the state directory cannot be written."""
    config_problem: str | None
    """Why the file is not in force; None: it is."""
    worker_failures: int
    """Unexpected exceptions of all threads."""
    failures_by_thread: dict[str, int]
    """The same by thread; one that never failed is not there."""


class StatusReporter:
    """Reads what the parts of the daemon say about themselves."""

    def __init__(
        self,
        running: Running,
        cameras: Cameras,
        delivery: Delivery,
        crashes: Crashes,
        describe_log: Callable[[], dict[str, str | int]] = dict,
        count_uploads: Callable[[], dict[str, int]] = dict,
        describe_recording: Callable[[], RecordingStatus | None] = lambda: None,
        certificate: CertificateFiles | None = None,
    ) -> None:
        """``describe_log`` says how the log of commands is, ``count_uploads`` which chunks of bundles came.

        ``certificate`` is that of all servers; None: nothing is encrypted.
        """
        self._describe_log, self._count_uploads = describe_log, count_uploads
        self._describe_recording = describe_recording
        self._certificate = certificate
        self._running, self._cameras, self._delivery, self._crashes = running, cameras, delivery, crashes
        self._watch, self._watched_at_s = DeliveryWatch(), float("-inf")
        self._started_at_s, self._started_at_wall_s = time.monotonic(), time.time()

    def watch_delivery(self, now_s: float) -> None:
        """Notice what is not delivered, and publish an event about it; for the main thread, as often as it likes."""
        if now_s - self._watched_at_s < WATCH_EVERY_S:
            return
        self._watched_at_s = now_s
        channels = {channel.name: channel.status() for channel in self._delivery.channels}
        for fact in self._watch.observe(channels, now_s):
            self._delivery.add_event(Event(time.time(), fact))

    @property
    def uptime_s(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started_at_s

    def health(self) -> Health:
        """The verdict of now."""
        return judge(self.findings())

    def findings(self) -> tuple[Finding, ...]:
        """What is not as it should be now, the gravest first."""
        running, broker = self._running, self._broker()
        channels = [channel.status() for channel in self._delivery.channels]
        ends_at_wall_s = self.find_certificate_end()
        facts = Facts(
            engines=running.engine_facts(),
            sources=self._cameras.facts(),
            is_stopping=running.is_stopping,
            broker_connected=None if broker is None else broker.connected,
            broker_problem=None if broker is None else broker.problem,
            outbox_pending=sum(channel.pending for channel in channels),
            outbox_writable=all(channel.durable for channel in channels),
            results_lost=sum(channel.dropped for channel in channels),
            free_disk_mib=self._free_disk_mib(),
            config_problem=running.config_problem,
            safe_mode=(running.first_problem or "starting") if running.config.is_safe_mode else None,
            calibration=running.calibration_concerns(),
            commissioning=running.find_commissioning(),
            distrusted=running.distrusted,
            untried={
                name: runtime.untried
                for name, runtime in list(running.models.items())
                if runtime.untried is not None
            },
            listen_problems=running.listen_problems,
            certificate=None if ends_at_wall_s is None else describe_end(ends_at_wall_s, time.time()),
            thread_failures=self._crashes.in_a_row(),
            delivery=self._watch.findings,
        )
        return PROCESS.value(find(facts, time.monotonic()))

    def find_certificate_end(self) -> float | None:
        """When the servers' certificate expires, POSIX seconds; None where there is none."""
        return None if self._certificate is None else self._certificate.find_end()

    def status(self) -> DaemonStatus:
        """Everything."""
        running, models, crashes = self._running, dict(self._running.models), self._crashes
        entry = running.config_entry
        first = [runtime.pipeline.metrics.first_result_at_s for runtime in models.values()]
        known = [at_s for at_s in first if at_s is not None]
        status = DaemonStatus(
            device=running.config.device,
            versions={"edge-runtime": __version__, "python": python_version()},
            uptime_s=round(self.uptime_s, 1),
            memory=read_process_memory(),
            first_result_s=round(min(known) - self._started_at_s, 2) if known else None,
            health=self.health(),
            safe_mode=running.config.is_safe_mode,
            models={name: runtime.status() for name, runtime in models.items()},
            cameras=self._cameras.status(running.config.streams),
            delivery={channel.name: channel.status() for channel in self._delivery.channels},
            recording=self._describe_recording(),
            broker=self._broker(),
            config=None if entry is None else ConfigStatus(entry.number, entry.at, entry.by),
            config_problem=running.config_problem,
            worker_failures=crashes.total,
            failures_by_thread=crashes.by_thread(),
        )
        return PROCESS.value(status)

    def state(self, health: Health) -> bytes:
        """The payload of the retained MQTT state, with the verdict of now."""
        generations = {
            name: str(runtime.pipeline.slot.generation)
            for name, runtime in dict(self._running.models).items()
        }
        return encode_object({"health": health, "models": generations})

    def history(self) -> list[tuple[float, Fact]]:
        """The newest events with the time since the start in seconds, oldest first."""
        return [(event.at_wall_s - self._started_at_wall_s, event.fact) for event in self._delivery.events()]

    def _broker(self) -> BrokerStatus | None:
        connection = self._running.connection
        client, commands = connection.client, connection.commands
        if client is None:
            return None
        counts = {} if commands is None else commands.counts
        is_connected = client.session is not None
        return BrokerStatus(is_connected, client.problem, counts, self._describe_log(), self._count_uploads())

    def _free_disk_mib(self) -> float | None:
        try:
            return shutil.disk_usage(self._running.config.state_dir).free / 2**20
        except OSError:
            return None
