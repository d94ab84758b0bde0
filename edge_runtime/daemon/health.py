"""Whether the daemon is alive, whether it is ready, and why not: facts in, a verdict out.

*Live* means that inference makes progress, or that nothing is due. *Ready* means that it may be relied on: models are
loaded, which includes their golden self-test, and pictures come in and are answered. A problem that the daemon survives
(a broker that is away: results wait on disk) is a note. Pure: no clock, no socket. The HTTP server, the retained MQTT
state and systemd's status line use the one verdict; ``WatchdogFeeder`` reads only the engines' facts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from edge_runtime.messaging.events import HealthChanged

INFERENCE_S = 20.0
"""A batch that is due this long has hung. The slowest honest case is a big model on a slow board."""
SOURCE_START_S = 15.0
"""A stream may take this long to give its first frame (an RTSP camera's first key frame)."""
ERRORS_IN_A_ROW = 3
UNANSWERED_S = 30.0
"""Frames that come in and get no result for this long are dropped for their age, or lost to errors."""
REJECTED_IN_A_ROW = 5
"""So many frames without one result: the camera or the model is wrong, not a picture."""
MIN_FREE_DISK_MIB = 64.0
LASTS_S, OVER_S = 5.0, 30.0
"""A finding is news when it has lasted so long, and over when it has been away so long."""
COMMISSIONING_S = 900.0
"""128 frames take about three minutes; that no baseline is there yet after so long is news."""


class Weight(IntEnum):
    """How much a finding counts; the gravest is the lowest."""

    DEAD = 0
    """Not live: only a restart helps."""
    UNREADY = 1
    NOTE = 2


_HAS_EVENTS = ("daemon", "configuration", "delivery")
"""These have other events, or none can be sent any more."""
_STATES: dict[Weight, Literal["dead", "unready", "note"]] = {
    Weight.DEAD: "dead",
    Weight.UNREADY: "unready",
    Weight.NOTE: "note",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    part: str
    """``daemon``, ``engine parts``, ``source belt``, ``broker``, ``delivery mqtt``, ``outbox``, ``disk``,
    ``configuration``, ``calibration parts``, ``trust parts``, ``http``, ``grpc``, ``certificate`` or
    ``thread http``."""
    weight: Weight
    reason: str
    news_after_s: float = LASTS_S
    """It is news when it has lasted so long, seconds."""


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
    doubt: str | None = None
    """Why its frames cannot be right, although they are answered."""
    rejected_in_a_row: int = 0
    """Frames without a result since the last one that had one."""
    last_result_at_s: float | None = None
    """Capture time of the newest frame when the last result came."""
    patience_s: float = 0.0
    """So long after a result rejections alone may come: of a sensor a message, and not a window, is rejected."""
    last_rejection: str = ""
    unanswered_since_s: float | None = None
    """Since when frames come in and none is answered or rejected; None when the latest one was."""

    def is_idle(self, now_s: float) -> bool:
        """Whether a stream that may be silent is so now: what its last frames were says nothing of the next."""
        last_s = self.last_frame_at_s
        return self.may_idle and (last_s is None or now_s - last_s > UNANSWERED_S)

    @property
    def is_rejecting(self) -> bool:
        """Whether the latest frames were all rejected."""
        if self.rejected_in_a_row < REJECTED_IN_A_ROW:
            return False
        if self.last_result_at_s is None or self.last_frame_at_s is None:
            return True
        return self.last_frame_at_s - self.last_result_at_s >= self.patience_s

    @property
    def rejections(self) -> str:
        """That in words."""
        return f"the last {self.rejected_in_a_row} frames have no result ({self.last_rejection})"

    @property
    def unanswered_s(self) -> float:
        """How long frames have come in without an answer."""
        if self.unanswered_since_s is None or self.last_frame_at_s is None:
            return 0.0
        return self.last_frame_at_s - self.unanswered_since_s


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
    safe_mode: str | None = None
    """Why no camera and no model runs; None when they may."""
    calibration: Mapping[str, str] = field(default_factory=dict)
    """By model, why it is not watched, or its drift not corrected."""
    commissioning: frozenset[str] = frozenset()
    """The models of these that are watched as soon as a task has ended that has begun."""
    distrusted: Mapping[str, str] = field(default_factory=dict)
    """By model, why the next start does not open the version that answers."""
    untried: Mapping[str, str] = field(default_factory=dict)
    """By model, why its version answers without a trial."""
    listen_problems: Mapping[str, str] = field(default_factory=dict)
    """Why nothing listens for ``http`` or ``grpc``, although it should."""
    certificate: str | None = None
    """That the servers' one has expired, or does so soon."""
    thread_failures: Mapping[str, int] = field(default_factory=dict)
    """For each thread that fails now, how often in a row."""
    delivery: tuple[Finding, ...] = ()
    """Of :class:`edge_runtime.daemon.delivery_watch.DeliveryWatch`."""


@dataclass(frozen=True, slots=True)
class Health:
    """The verdict, in the names and the order of ``/healthz``."""

    live: bool
    """False where only a restart helps."""
    ready: bool
    """Whether results may be relied on."""
    reasons: tuple[str, ...] = ()
    """One sentence for each finding, the gravest first."""

    @property
    def line(self) -> str:
        """In one line, for ``systemctl status``."""
        verdict = "ready" if self.ready else "not ready" if self.live else "not live"
        return "; ".join((verdict, *self.reasons))


def find(facts: Facts, now_s: float) -> tuple[Finding, ...]:
    """What is not as it should be as of ``now_s`` (monotonic seconds), the gravest first."""
    findings = (
        *_judge_daemon(facts),
        *(found for engine in facts.engines for found in _judge_engine(engine, now_s)),
        *_judge_sources(facts.sources, now_s),
        *facts.delivery,
        *_note_problems(facts),
    )
    return tuple(sorted(findings, key=lambda finding: finding.weight))


def judge(findings: tuple[Finding, ...]) -> Health:
    """The verdict on findings, of which the first is the gravest."""
    gravest = findings[0].weight if findings else Weight.NOTE
    reasons = tuple(f"{finding.part}: {finding.reason}" for finding in findings)
    return Health(gravest > Weight.DEAD, gravest > Weight.UNREADY, reasons)


def _judge_daemon(facts: Facts) -> Iterator[Finding]:
    if facts.is_stopping:
        yield Finding("daemon", Weight.UNREADY, "is stopping")
    if facts.safe_mode is not None:
        yield Finding("configuration", Weight.UNREADY, f"safe mode: {facts.safe_mode}")
    elif not facts.engines:
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
    mute = {source.stream: found for source in sources if (found := _explain_no_results(source, now_s))}
    for source in sources:
        if source.may_idle and not source.is_finished and source.last_frame_at_s is None and source.problem:
            yield Finding(f"source {source.stream}", Weight.NOTE, f"no frame yet ({source.problem})")
        if source.doubt and source.stream not in mute:
            yield Finding(f"source {source.stream}", Weight.NOTE, source.doubt)
        if source.is_rejecting and source.is_idle(now_s):
            yield Finding(f"source {source.stream}", Weight.NOTE, source.rejections)
    # One dead camera of sixteen does not make the box useless: the others are served, and it is reported. A folder that
    # waits for pictures is no result either.
    owing = [s.stream for s in sources if s.stream in mute or not (s.may_idle or s.is_finished)]
    weight = Weight.UNREADY if len(mute) == len(owing) else Weight.NOTE
    for stream, reason in mute.items():
        yield Finding(f"source {stream}", weight, reason)


def _explain_no_results(source: SourceFacts, now_s: float) -> str | None:
    """Why the stream gives no results; None when it gives some or need not."""
    if source.is_idle(now_s):
        return None
    if source.is_rejecting:
        return source.rejections
    if source.unanswered_s > UNANSWERED_S:
        return f"no frame was answered for {source.unanswered_s:.0f} s: they wait too long or fail"
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
    if facts.config_problem and facts.safe_mode is None:
        yield Finding(
            "configuration",
            Weight.NOTE,
            f"the last edit was refused, what was in force before counts: {facts.config_problem}",
        )
    for model, reason in facts.calibration.items():
        news_after_s = COMMISSIONING_S if model in facts.commissioning else LASTS_S
        yield Finding(f"calibration {model}", Weight.NOTE, reason, news_after_s)
    for model, reason in facts.distrusted.items():
        yield Finding(f"trust {model}", Weight.NOTE, reason)
    for model, reason in facts.untried.items():
        yield Finding(f"version {model}", Weight.NOTE, reason)
    for part, reason in facts.listen_problems.items():
        yield Finding(part, Weight.NOTE, reason)
    if facts.certificate is not None:
        reason = f"{facts.certificate}; renew http.tls.cert, which is taken without a restart"
        yield Finding("certificate", Weight.NOTE, reason)
    # A vital thread ends the daemon by itself, the others are not worth the loss of readiness.
    for thread, in_a_row in facts.thread_failures.items():
        if in_a_row >= ERRORS_IN_A_ROW:
            reason = f"failed {in_a_row} times in a row; the log says why"
            yield Finding(f"thread {thread}", Weight.NOTE, reason)


class HealthLog:
    """Which findings are news: one that lasts, one that has become graver or lighter, and one that is over.

    A camera that comes and goes is said once, not at every look.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Finding, float, float]] = {}  # part -> (latest, first and last time seen)
        self._said: dict[str, Weight] = {}

    def update(self, findings: tuple[Finding, ...], now_s: float) -> list[HealthChanged]:
        """Take in one look of every few seconds (monotonic); gives what subscribers should hear."""
        news = list[HealthChanged]()
        for finding in reversed(findings):  # of several about one part the gravest counts
            if finding.part.partition(" ")[0] in _HAS_EVENTS:
                continue
            _, since_s, _ = self._seen.get(finding.part, (finding, now_s, now_s))
            self._seen[finding.part] = (finding, since_s, now_s)
        for part, (finding, since_s, last_s) in list(self._seen.items()):
            if now_s - last_s > OVER_S:
                del self._seen[part]
                if self._said.pop(part, None) is not None:
                    news.append(HealthChanged(part, "well", None))
            elif last_s < now_s or now_s - since_s < finding.news_after_s:
                continue
            elif self._said.get(part) != finding.weight:
                self._said[part] = finding.weight
                news.append(HealthChanged(part, _STATES[finding.weight], finding.reason))
        return news


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
