"""Whether the daemon is alive, whether it is ready, and why not: facts in, a verdict out.

*Live* means that inference makes progress, or that nothing is due. *Ready* means that it may be relied on: models are
loaded, which includes their golden self-test, and pictures come in. A problem that the daemon survives (a broker that
is away: results wait on disk) is a note. The watchdog is fed by the engines' facts alone. Pure: no clock, no socket.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

INFERENCE_S = 20.0
"""A batch that is due this long has hung. The slowest honest case is a big model on a slow board."""
SOURCE_START_S = 15.0
"""A stream may take this long to give its first frame (an RTSP camera's first key frame)."""
ERRORS_IN_A_ROW = 3
MIN_FREE_DISK_MIB = 64.0


class Weight(IntEnum):
    """How much a finding counts; the gravest is the lowest."""

    DEAD = 0
    """Not live: only a restart helps."""
    UNREADY = 1
    NOTE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    part: str
    """``daemon``, ``engine parts``, ``source belt``, ``broker``, ``delivery mqtt``, ``outbox``, ``disk``,
    ``configuration`` or ``thread http``."""
    weight: Weight
    reason: str


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """One model's inference. Times are monotonic seconds."""

    model: str
    last_progress_at_s: float | None
    """When the last batch came back, well or with an error; None before the first."""
    due_since_s: float | None
    """Since when a batch waits or runs; None when nothing is due."""
    errors_in_a_row: int = 0

    @property
    def waits_since_s(self) -> float | None:
        """Since when something is due and nothing has come back; None when nothing is due."""
        if self.due_since_s is None or self.last_progress_at_s is None:
            return self.due_since_s
        return max(self.due_since_s, self.last_progress_at_s)


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One stream."""

    stream: str
    started_at_s: float
    last_frame_at_s: float | None
    allowed_silence_s: float
    """After this long without a frame the stream counts as silent."""
    may_idle: bool
    """Silence is normal (a folder, pictures over MQTT)."""
    is_finished: bool = False
    """A file that was played to its end."""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the verdict depends on."""

    engines: tuple[EngineFacts, ...]
    sources: tuple[SourceFacts, ...]
    is_stopping: bool = False
    broker_connected: bool | None = None
    """None when no broker is configured."""
    broker_problem: str | None = None
    outbox_pending: int = 0
    outbox_writable: bool = True
    results_lost: int = 0
    free_disk_mib: float | None = None
    config_problem: str | None = None
    thread_failures: Mapping[str, int] = field(default_factory=dict)
    """For each thread that fails now, how often in a row."""
    delivery: tuple[Finding, ...] = ()
    """Of :class:`edge_runtime.daemon.delivery_watch.DeliveryWatch`."""


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict, in the names and the order of ``/healthz``."""

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()
    """One sentence for each finding, the gravest first."""

    @property
    def line(self) -> str:
        """In one line, for ``systemctl status``."""
        verdict = "ready" if self.ready else "not ready" if self.live else "not live"
        return "; ".join((verdict, *self.reasons))


def assess(facts: Facts, now_s: float) -> Health:
    """Judge the facts as of ``now_s`` (monotonic seconds)."""
    findings = (
        *_judge_daemon(facts),
        *(found for engine in facts.engines for found in _judge_engine(engine, now_s)),
        *_judge_sources(facts.sources, now_s),
        *facts.delivery,
        *_note_problems(facts),
    )
    ranked = sorted(findings, key=lambda finding: finding.weight)
    gravest = ranked[0].weight if ranked else Weight.NOTE
    reasons = tuple(f"{finding.part}: {finding.reason}" for finding in ranked)
    return Health(gravest > Weight.DEAD, gravest > Weight.UNREADY, reasons)


def _judge_daemon(facts: Facts) -> Iterator[Finding]:
    if facts.is_stopping:
        yield Finding("daemon", Weight.UNREADY, "is stopping")
    if not facts.engines:
        yield Finding("daemon", Weight.UNREADY, "no model is loaded yet")


def _judge_engine(engine: EngineFacts, now_s: float) -> Iterator[Finding]:
    part, waits_since_s = f"engine {engine.model}", engine.waits_since_s
    if waits_since_s is not None and now_s - waits_since_s > INFERENCE_S:
        waited_s = now_s - (engine.due_since_s or now_s)
        reason = f"no inference has finished for {waited_s:.0f} s although one is due"
        yield Finding(part, Weight.DEAD, reason)
    if engine.errors_in_a_row >= ERRORS_IN_A_ROW:
        yield Finding(part, Weight.UNREADY, f"the last {engine.errors_in_a_row} inferences failed")


def _judge_sources(sources: tuple[SourceFacts, ...], now_s: float) -> Iterator[Finding]:
    silent = {source.stream: found for source in sources if (found := _explain_silence(source, now_s))}
    for source in sources:
        if source.may_idle and not source.is_finished and source.last_frame_at_s is None and source.problem:
            yield Finding(f"source {source.stream}", Weight.NOTE, f"no frame yet ({source.problem})")
    # One dead camera of sixteen does not make the box useless: the others are served, and it is reported.
    none_left = bool(sources) and len(silent) == len(sources)
    for stream, reason in silent.items():
        yield Finding(f"source {stream}", Weight.UNREADY if none_left else Weight.NOTE, reason)


def _explain_silence(source: SourceFacts, now_s: float) -> str | None:
    """Why the stream counts as silent; None when it gives frames or need not."""
    if source.may_idle or source.is_finished:
        return None
    cause = f" ({source.problem})" if source.problem else ""
    if source.last_frame_at_s is None:
        waited_s = now_s - source.started_at_s
        late = "" if waited_s <= SOURCE_START_S else f" for {waited_s:.0f} s"
        return f"no frame yet{late}{cause}"
    silence_s = now_s - source.last_frame_at_s
    return f"no frame for {silence_s:.1f} s{cause}" if silence_s > source.allowed_silence_s else None


def _note_problems(facts: Facts) -> Iterator[Finding]:
    """Those that the daemon survives."""
    if facts.broker_connected is False:
        cause = f" ({facts.broker_problem})" if facts.broker_problem else ""
        reason = f"not connected{cause}; {facts.outbox_pending} results wait on disk"
        yield Finding("broker", Weight.NOTE, reason)
    elif facts.broker_connected and facts.broker_problem:
        yield Finding("broker", Weight.NOTE, facts.broker_problem)
    if not facts.outbox_writable:
        reason = f"cannot be written, results are only live; {facts.results_lost} results lost so far"
        yield Finding("outbox", Weight.NOTE, reason)
    if facts.free_disk_mib is not None and facts.free_disk_mib < MIN_FREE_DISK_MIB:
        reason = f"{facts.free_disk_mib:.0f} MiB free, less than {MIN_FREE_DISK_MIB:.0f}"
        yield Finding("disk", Weight.NOTE, reason)
    if facts.config_problem:
        yield Finding("configuration", Weight.NOTE, f"the last edit was refused: {facts.config_problem}")
    # A vital thread ends the daemon by itself, the others are not worth the loss of readiness.
    for thread, in_a_row in facts.thread_failures.items():
        if in_a_row >= ERRORS_IN_A_ROW:
            reason = f"failed {in_a_row} times in a row; the log says why"
            yield Finding(f"thread {thread}", Weight.NOTE, reason)


class WatchdogFeeder:
    """Decides when systemd's watchdog is fed: by progress of inference, never by the mere passing of time.

    Fed when every model has either finished a batch since the last feeding or has nothing due. A batch that is
    on its way is given until ``systemd``'s own deadline, which then kills the daemon.
    """

    def __init__(self, watchdog_s: float) -> None:
        self._interval_s = watchdog_s / 2  # sd_watchdog_enabled(3): feed at half the time
        self._fed_at_s: float | None = None

    def is_due(self, engines: tuple[EngineFacts, ...], now_s: float) -> bool:
        """Whether to feed now; the caller then does. Call it about once a second."""
        fed_at_s = self._fed_at_s
        if fed_at_s is not None:
            waits_s = [engine.waits_since_s for engine in engines]
            has_progressed = all(since_s is None or since_s > fed_at_s for since_s in waits_s)
            if not has_progressed or now_s - fed_at_s < self._interval_s:
                return False
        self._fed_at_s = now_s
        return True
