"""The daemon's life as four verbs: startup, main loop, tick, shutdown."""

import queue
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import structlog

from edge_runtime.config import Changes, Config
from edge_runtime.config.history import BY_START
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.edit_trial import EditTrial
from edge_runtime.daemon.health import HealthLog, WatchdogFeeder, judge
from edge_runtime.daemon.home_assistant import HomeAssistant
from edge_runtime.daemon.listeners import Listeners
from edge_runtime.daemon.object_events import ObjectEvents
from edge_runtime.daemon.picture_sender import PictureSender
from edge_runtime.daemon.recording_server import RecordingServer
from edge_runtime.daemon.reload import ConfigReloader
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.status import StatusReporter
from edge_runtime.daemon.trends import Trends
from edge_runtime.errors import ExitCode, OpeningStopped
from edge_runtime.messaging.commands.under_way import UnderWay
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import Fact
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.system.systemd import SystemdNotify

log = structlog.get_logger()

TICK_S = 0.25
STATE_EVERY_S = 2.0  # the retained state must not lag behind the real one by more than 5 s
MODEL_START_S = 180.0
"""systemd is asked for this long again and again while a model is opened: a big one on a slow board takes its time."""
_ASK_EVERY_S = 30.0


class StopRequest:
    """Lets a signal handler or any thread end the daemon."""

    def __init__(self) -> None:
        # A queue and not an Event: a signal handler may interrupt the main thread inside Event.wait, whose lock it
        # would then wait for, for ever. SimpleQueue.put is made for that.
        self._requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._was_taken = False
        self.fatal: str | None = None
        """The failure that cannot be repaired from inside; systemd then restarts the daemon."""

    def put(self) -> None:
        """End in good order."""
        self._requests.put(None)

    def fail(self, reason: str) -> None:
        """End because the daemon cannot work."""
        self.fatal = reason
        self.put()

    def was_made(self) -> bool:
        """Whether a request waits, or was taken."""
        return self._was_taken or not self._requests.empty()

    def came_within(self, timeout_s: float) -> bool:
        """Wait for a request at most this long."""
        try:
            self._requests.get(timeout=timeout_s)
        except queue.Empty:
            return False
        self._was_taken = True
        return True


@dataclass(kw_only=True)
class Daemon:
    """One running edge box."""

    running: Running
    """Its models are opened by :meth:`startup`."""
    cameras: Cameras
    """No stream is open yet."""
    reloader: ConfigReloader
    reporter: StatusReporter
    trends: Trends
    delivery: Delivery
    home_assistant: HomeAssistant
    objects: ObjectEvents
    """Not started, as the next."""
    pictures: PictureSender
    under_way: UnderWay
    """Commands that are answered when their work is done."""
    recordings: RecordingServer
    """Not listening yet."""
    listeners: Listeners
    """Not listening yet."""
    watch: ConfigWatcher
    """Not started."""
    trial: EditTrial
    notify: SystemdNotify
    emit: Callable[[Fact], None]
    """Publishes what has happened to the whole device."""
    stop_request: StopRequest
    resources: ExitStack
    """Closed last: outboxes and the lock of the state directory."""

    def __post_init__(self) -> None:
        self.is_hung = False
        """After the stop: a thread hangs in an engine, and the interpreter cannot end in good order."""
        self._must_look, self._state_at_s = False, 0.0
        self._last_state: tuple[MqttClient, bytes] | None = None
        self._last_line = ""
        self._health_log = HealthLog()
        self._feeder = None if self.notify.watchdog_s is None else WatchdogFeeder(self.notify.watchdog_s)

    def run(self, for_s: float | None = None) -> int:
        """Live until asked to stop (or for ``for_s`` seconds); gives the exit code.

        Raises:
            BundleError, EngineError, StateError, NotListening: it cannot start; what had been started is ended.
        """
        try:
            self.startup()
            self.main_loop(for_s)
        except OpeningStopped:
            log.info("asked to stop before all models were open")
        finally:
            self.shutdown()
        log.info("stopped")  # not after a start that failed: safe mode may follow
        if self.stop_request.fatal is None:
            return 0
        log.error("stopped because the daemon cannot work", reason=self.stop_request.fatal)
        return ExitCode.SOFTWARE

    def startup(self) -> None:
        """Models first (a bad bundle must stop the start), then cameras; READY once all self-tests have passed."""
        config, models = self.running.config, self.running.models
        self.reloader.follow_edits(time.monotonic())  # the file's refusal: health tells it from the start
        for name in config.models:
            models[name] = self.reloader.open_model(config, name, self._extend_start())
        for runtime in models.values():
            runtime.start()
        self.pictures.start()
        self.objects.start()
        for stream, section in config.streams.items():
            if section.enabled:
                self.cameras.open(stream, section, models[section.model].pipeline)
        is_patient = config.is_safe_mode or self.notify.is_managed
        self.listeners.start(time.monotonic(), is_patient=is_patient)
        self.recordings.start()
        self.notify.ready()
        log.info("ready", models=[runtime.bundle.id for runtime in models.values()], **_find_places(config))
        self.running.connection.start()
        self.watch.start()
        if not config.is_safe_mode:
            self.reloader.keep_config(config, BY_START, Changes())

    def _extend_start(self) -> Callable[[], bool]:
        """Ask systemd for time; gives the function that a first opening, however long, asks whether to stop."""
        asked_at_s = time.monotonic()
        self.notify.extend_start(MODEL_START_S)

        def should_stop() -> bool:
            nonlocal asked_at_s
            if time.monotonic() - asked_at_s >= _ASK_EVERY_S:
                asked_at_s = time.monotonic()
                self.notify.extend_start(MODEL_START_S)
            return self.stop_request.was_made()

        return should_stop

    def main_loop(self, for_s: float | None) -> None:
        """Tick until stopped."""
        end_s = None if for_s is None else time.monotonic() + for_s
        while not self.stop_request.came_within(TICK_S):
            self.tick(time.monotonic())
            if end_s is not None and time.monotonic() >= end_s:
                return
            models = self.running.models.values()
            if self.cameras.are_finished() and all(runtime.pipeline.is_idle() for runtime in models):
                log.info("all files have been played")
                return

    def tick(self, now_s: float) -> None:
        """Apply edits, feed the watchdog, publish the state."""
        if self._must_look:
            self._must_look = False
            self.watch.check_now(again=self.running.config_problem is not None)
        self.listeners.tick(now_s)
        self.trial.observe(self.running.connection.is_commandable, now_s)
        self.reloader.follow_edits(now_s)
        self.reporter.watch_delivery(now_s)
        self.delivery.publish_last_rejections(now_s)
        if self._feeder is not None and self._feeder.is_due(self.running.engine_facts(), now_s):
            self.notify.watchdog()
        if now_s - self._state_at_s >= STATE_EVERY_S:
            self._state_at_s = now_s
            self._publish_state(now_s)
        self.home_assistant.tick(now_s)
        self.trends.tick(now_s)

    def _publish_state(self, now_s: float) -> None:
        """Tell subscribers, systemd and the broker how the daemon is: its first state, then only changes."""
        findings = self.reporter.findings()
        for change in self._health_log.update(findings, now_s):
            self.emit(change)
        health = judge(findings)
        if health.line != self._last_line:
            self._last_line = health.line
            self.notify.status(health.line)
        client = self.running.connection.client
        if client is None:
            return
        state = (client, self.reporter.state(health))
        if state != self._last_state:
            self._last_state = state
            client.set_state(state[1])

    def shutdown(self) -> None:
        """Take in nothing more, answer what was taken in, deliver what can be delivered, leave the rest on disk."""
        running = self.running
        running.is_stopping = True
        self.notify.stopping()
        self.watch.stop()
        self.reloader.stop()
        self.under_way.stop()
        self.recordings.stop()
        self.cameras.stop_all()
        for name, runtime in running.models.items():
            if not runtime.stop():
                self.is_hung = True
                self.stop_request.fatal = f"an inference of {name} hangs"
        self.objects.stop()
        self.pictures.stop()
        self.delivery.publish_last_rejections(time.monotonic(), is_end=True)
        running.connection.stop(running.config.outbox.drain_timeout_s)
        self.listeners.stop()
        self.resources.close()

    def stop(self) -> None:
        """Ask the daemon to end; from a signal handler or any thread."""
        self.stop_request.put()

    def look_at_config(self) -> None:
        """Read the configuration file again at the next tick, as after SIGHUP."""
        self._must_look = True


def _find_places(config: Config) -> dict[str, str]:
    """Where a person finds the page and the results."""
    places, sink = {}, config.sink_path()
    if config.http.enabled:
        places["page"] = config.http.page
    if sink is not None:
        places["results"] = str(sink)
    return places
