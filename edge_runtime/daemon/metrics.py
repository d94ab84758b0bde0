"""The state of the daemon as samples of metrics, read when they are scraped; nothing is kept here.

Counters only grow while the process lives: what an edit replaces goes on with the counts of what was there before.
Labels are names of the configuration and of bundles, and words of the program; no other text from outside is one.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from platform import python_version

from edge_runtime import __version__
from edge_runtime.daemon import metric_table as table
from edge_runtime.daemon.cameras import Cameras
from edge_runtime.daemon.health import Finding, judge
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.status import StatusReporter
from edge_runtime.datatypes import Generation
from edge_runtime.http.metric_samples import Buckets, Sample
from edge_runtime.inference.answer_counts import BOUNDS
from edge_runtime.inference.durations import BOUNDS_S, Distribution
from edge_runtime.inference.metrics import PipelineMetrics
from edge_runtime.messaging.delivery import Channel, Delivery
from edge_runtime.messaging.event_counts import EDITS, RECALIBRATIONS, ROLLOUTS, EventCounts
from edge_runtime.messaging.events import DriftFigures
from edge_runtime.recalibration.controller import RecalibrationController
from edge_runtime.serving.request_counts import RequestCounts
from edge_runtime.serving.wrong_tokens import WrongTokens
from edge_runtime.sources.base import SourceCounts
from edge_runtime.system.supervised_thread import Crashes

_NO_OUTCOMES = ("under_way", "forgotten")
"""Among the counts of commands: how many are on their way, and used transactions that a damaged file has lost."""


class MetricsReader:
    """Safe from any thread."""

    def __init__(
        self,
        running: Running,
        cameras: Cameras,
        delivery: Delivery,
        reporter: StatusReporter,
        crashes: Crashes,
        requests: RequestCounts,
        calls: RequestCounts,
        wrong_tokens: WrongTokens,
        count_skipped: Callable[[], int],
    ) -> None:
        """``count_skipped`` gives the results in which no object was followed."""
        self._count_skipped = count_skipped
        self._requests, self._calls, self._wrong_tokens = requests, calls, wrong_tokens
        self._running, self._cameras, self._delivery = running, cameras, delivery
        self._reporter, self._crashes = reporter, crashes

    def read(self) -> Iterator[Sample]:
        """Every metric of now."""
        events = self._delivery.event_counts
        yield from self._read_box(events)
        for name, runtime in dict(self._running.models).items():
            yield from _read_model(name, runtime)
            yield from _read_answers(name, runtime.pipeline.metrics)
            yield from _read_versions(name, runtime, events)
            if runtime.controller is not None:
                yield from _read_recalibration(name, runtime.controller, events)
        yield from self._read_cameras()
        for channel in self._delivery.channels:
            yield from _read_channel(channel)
        yield from self._read_broker()
        yield table.OBJECTS_SKIPPED.of(self._count_skipped())
        if (ends_at_wall_s := self._reporter.find_certificate_end()) is not None:
            yield table.CERTIFICATE.of(ends_at_wall_s)
        for (route, code), count in self._requests.read().items():
            yield table.HTTP_REQUESTS.of(count, route, str(code))
        yield table.WRONG_TOKENS.of(self._wrong_tokens.count)
        for (call, code), count in self._calls.read().items():
            yield table.GRPC_REQUESTS.of(count, call, str(code))

    def _read_box(self, events: EventCounts) -> Iterator[Sample]:
        config, findings = self._running.config, self._reporter.findings()
        health = judge(findings)
        yield table.BUILD.of(1, __version__, python_version())
        yield table.DEVICE.of(1, config.device)
        yield table.UPTIME.of(self._reporter.uptime_s)
        yield table.LIVE.of(health.live)
        yield table.READY.of(health.ready)
        yield from _read_findings(findings)
        yield table.SAFE_MODE.of(config.is_safe_mode)
        for edit in EDITS:
            yield table.CONFIG_EDITS.of(events.get(("config", edit)), edit)
        for thread, failures in self._crashes.by_thread().items():
            yield table.THREAD_FAILURES.of(failures, thread)
        try:
            disk = shutil.disk_usage(config.state_dir)
        except OSError:
            return
        yield table.DISK_FREE.of(disk.free)
        yield table.DISK_SIZE.of(disk.total)

    def _read_cameras(self) -> Iterator[Sample]:
        for stream, counts in self._cameras.counts().items():
            yield table.CAPTURED.of(counts.captured, stream)
            yield table.CAMERA_DROPPED.of(counts.dropped, stream)
            yield table.RESTARTS.of(counts.restarts, stream)
            yield table.CAMERA_CPU.of(counts.cpu_s, stream)
            if stream in self._running.config.sensors:
                yield from _read_samples(stream, counts)
        now_s, now_wall_s = time.monotonic(), time.time()
        for facts in self._cameras.facts():
            if facts.last_frame_at_s is not None:
                at_wall_s = now_wall_s - (now_s - facts.last_frame_at_s)
                yield table.LAST_FRAME.of(round(at_wall_s, 3), facts.stream)

    def _read_broker(self) -> Iterator[Sample]:
        connection = self._running.connection
        if connection.client is None:
            return
        yield table.CONNECTED.of(connection.client.session is not None)
        counts = {} if connection.commands is None else connection.commands.counts
        for outcome, count in counts.items():
            if outcome not in _NO_OUTCOMES:
                yield table.COMMANDS.of(count, outcome)
        yield table.UNDER_WAY.of(counts.get("under_way", 0))


def _read_samples(stream: str, counts: SourceCounts) -> Iterator[Sample]:
    yield table.SAMPLES.of(counts.samples, stream)
    for reason, count in (("late", counts.late_samples), ("duplicate", counts.duplicate_samples)):
        yield table.SAMPLES_LEFT_OUT.of(count, stream, reason)
    for cause, count in (("gap", counts.gaps), ("clock", counts.clock_jumps)):
        yield table.NEW_BEGINS.of(count, stream, cause)


def _read_findings(findings: tuple[Finding, ...]) -> Iterator[Sample]:
    """Of several about one part the gravest, which comes first."""
    gravest: dict[str, Finding] = {}
    for finding in findings:
        gravest.setdefault(finding.part, finding)
    for part, finding in gravest.items():
        yield table.FINDING.of(1, part, finding.weight.name.lower())


def _read_model(name: str, runtime: ModelRuntime) -> Iterator[Sample]:
    pipeline = runtime.pipeline
    metrics, counters, slot = pipeline.metrics, pipeline.scheduler.counters, pipeline.slot
    bundle, version, patch = _split(slot.generation)
    yield table.MODEL.of(1, name, bundle, version, patch, slot.engine.runs_on)
    for stream, of_stream in list(metrics.streams.items()):
        yield table.FRAMES.of(of_stream.frames, name, stream)
        yield table.RESULTS.of(of_stream.results, name, stream)
        for reason, count in dict(of_stream.rejected).items():
            yield table.REJECTED.of(count, name, stream, reason)
    yield table.DROPPED.of(counters.dropped_oldest, name, "oldest")
    yield table.DROPPED.of(counters.dropped_stale, name, "stale")
    yield table.ENGINE_ERRORS.of(metrics.engine_errors, name)
    yield table.LOST.of(metrics.lost_to_errors, name)
    if metrics.last_progress_at_s is not None:
        at_wall_s = time.time() - (time.monotonic() - metrics.last_progress_at_s)
        yield table.LAST_INFERENCE.of(round(at_wall_s, 3), name)
    yield table.BATCHES.of(metrics.batches, name)
    yield table.BATCHED.of(metrics.batched_samples, name)
    yield table.SWAPS.of(slot.swaps, name)
    yield table.QUEUED.of(pipeline.count_waiting(), name)


def _read_answers(name: str, metrics: PipelineMetrics) -> Iterator[Sample]:
    for (generation, arm), took in metrics.durations.read().items():
        _, version, patch = _split(generation)
        labels = (name, version, patch, arm)
        yield table.REQUEST_S.of(_buckets(took.total), *labels)
        yield table.PREPROCESS_S.of(_buckets(took.prepare), *labels)
        yield table.QUEUE_S.of(_buckets(took.queue), *labels)
        yield table.INFERENCE_S.of(_buckets(took.infer), *labels)
    for (generation, arm), found in metrics.answers.read_confidences().items():
        _, version, patch = _split(generation)
        yield table.CONFIDENCE.of(Buckets(BOUNDS, found.counts, found.sum), name, version, patch, arm)
    for label, count in metrics.answers.read_classes().items():
        yield table.ANSWERS.of(count, name, label)


def _read_versions(name: str, runtime: ModelRuntime, events: EventCounts) -> Iterator[Sample]:
    for outcome in ROLLOUTS:
        yield table.ROLLOUTS.of(events.get(("rollout", outcome), name), name, outcome)
    if runtime.rollout is None:
        return
    on_its_way = runtime.rollout.stage
    if on_its_way is not None:
        version, stage, _ = on_its_way
        yield table.STAGE.of(1, name, str(version), stage)
    yield table.PAUSED.of(on_its_way is not None and on_its_way[2], name)
    yield table.REFUSED_VERSIONS.of(len(runtime.rollout.refused), name)


def _read_recalibration(
    name: str, controller: RecalibrationController, events: EventCounts
) -> Iterator[Sample]:
    status = controller.status()
    yield table.BASELINE.of(status.commissioned, name)
    if isinstance(status.drift, DriftFigures):
        yield table.DRIFT.of(status.drift.score, name)
        yield table.DRIFT_THRESHOLD.of(status.drift.threshold, name)
        if status.drift.answers_score is not None:
            yield table.DRIFT_ANSWERS.of(status.drift.answers_score, name)
        yield table.DRIFT_ALARM.of(status.drift.drifted, name)
        yield table.DRIFT_CORRECTED.of(status.corrected_by is not None, name)
    yield table.DRIFT_ALARMS.of(events.get(("drift", "seen"), name), name)
    for outcome in RECALIBRATIONS:
        yield table.RECALIBRATIONS.of(events.get(("recalibration", outcome), name), name, outcome)
    yield table.ROLLBACKS.of(events.get(("rollback", "seen"), name), name)
    yield table.WAITS.of(status.proposal is not None, name)


def _read_channel(channel: Channel) -> Iterator[Sample]:
    counts, status, name = channel.count_since_start(), channel.status(), channel.name
    yield table.ENQUEUED.of(counts.pop("enqueued"), name)
    yield table.DELIVERED.of(counts.pop("delivered"), name)
    for column, count in counts.items():
        yield table.OUTBOX_DROPPED.of(count, name, column.removeprefix("dropped_by_"))
    yield table.PENDING.of(status.pending, name)
    yield table.PENDING_BYTES.of(status.pending_bytes, name)
    yield table.DURABLE.of(status.durable, name)
    yield table.DELIVERY_READY.of(status.is_ready, name)
    yield table.STALLED.of(status.stalled_s or 0.0, name)


def _buckets(seconds: Distribution) -> Buckets:
    return Buckets(BOUNDS_S, seconds.counts, seconds.sum_s)


def _split(generation: Generation) -> tuple[str, str, str]:
    """Bundle, version and patch, as labels."""
    bundle, _, version = generation.bundle.rpartition("/")
    return bundle, version, generation.patch or "none"
