"""Traces of frames for OpenTelemetry, sent to a collector by OTLP over HTTP. The only user of its libraries.

Only some frames are traced, so many a second at most as the configuration says, whatever the cameras give; spans that a
collector does not take are dropped. The thread that sends is the library's.
"""

import logging
import time
from collections.abc import Callable, Sequence

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import set_span_in_context

from edge_runtime import __version__
from edge_runtime.config.telemetry import TelemetryConfig
from edge_runtime.datatypes import Result
from edge_runtime.inference.frame_walk import find_steps
from edge_runtime.inference.scheduler import Queued

log = structlog.get_logger(__name__)
SEND_TIMEOUT_S = 2.0
"""For one message to the collector; the daemon stops at most so much later, since after one that was not taken no other
is tried."""
EVERY_MS = 1000
MOST_SPANS = 2048
"""That wait for the collector."""


class FrameTraces:
    """A :class:`edge_runtime.inference.frame_walk.FrameTrace`; any thread may call it."""

    def __init__(
        self, settings: TelemetryConfig, device: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # Its words for a collector that is away are long and come at every try; ours come once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        exporter = OTLPSpanExporter(f"{settings.otlp}/v1/traces", timeout=SEND_TIMEOUT_S)
        about = {
            "service.name": "edge-runtime",
            "service.version": __version__,
            "service.instance.id": device,
        }
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=Resource.create(about), shutdown_on_exit=False
        )
        self._collector = _Collector(exporter, settings.otlp)
        self._provider.add_span_processor(
            BatchSpanProcessor(self._collector, max_queue_size=MOST_SPANS, schedule_delay_millis=EVERY_MS)
        )
        self._tracer = self._provider.get_tracer("edge_runtime", __version__)
        self._clock, self._every_s = clock, 1 / settings.traces_per_s
        self._due_s: dict[str, float] = {}

    def note_frame(self, queued: Queued, result: Result) -> None:
        """Trace it, where the last traced frame of its model is long enough ago."""
        now_s = self._clock()
        if now_s < self._due_s.get(result.model, now_s):
            return
        self._due_s[result.model] = now_s + self._every_s
        offset_s = queued.sample.captured_at_wall_s - queued.sample.captured_at_s
        steps = find_steps(queued, result, now_s)
        about = {
            "frame.id": result.id,
            "frame.stream": result.stream,
            "model.name": result.model,
            "model.generation": result.generation,
            "model.arm": result.arm or "active",
        }
        whole = self._tracer.start_span(
            "frame", Context(), attributes=about, start_time=_nanoseconds(steps[0].start_s + offset_s)
        )
        inside = set_span_in_context(whole, Context())
        for step in steps:
            start, end = (_nanoseconds(moment_s + offset_s) for moment_s in (step.start_s, step.end_s))
            self._tracer.start_span(step.name, inside, attributes=about, start_time=start).end(end)
        whole.end(_nanoseconds(steps[-1].end_s + offset_s))

    def close(self) -> None:
        """Send what waits, as far as the collector takes it at once."""
        self._collector.is_closing = True
        self._provider.shutdown()


class _Collector(SpanExporter):
    """Says once that a collector takes nothing, and that it does again."""

    def __init__(self, inner: SpanExporter, address: str) -> None:
        self._inner, self._address, self._fails = inner, address, False
        self.is_closing = False
        """Whether one that takes nothing is tried no more."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.is_closing and self._fails:
            return SpanExportResult.FAILURE
        result = self._inner.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            log.warning("the collector does not take traces, they are dropped", otlp=self._address)
        elif self._fails and not fails:
            log.info("the collector takes traces again", otlp=self._address)
        self._fails = fails
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _nanoseconds(wall_s: float) -> int:
    return round(wall_s * 1e9)
