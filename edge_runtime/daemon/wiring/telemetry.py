"""Makes the traces of frames, where the configuration wants them."""

from contextlib import ExitStack
from importlib import import_module

from edge_runtime.config import Config
from edge_runtime.errors import ExtraMissing
from edge_runtime.inference.frame_walk import FrameTrace

KEY = "telemetry"


def require_telemetry() -> None:
    """Whether what traces need is installed.

    Raises:
        ExtraMissing: it is not.
    """
    try:
        for library in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http"):
            import_module(library)
    except ImportError as err:
        raise ExtraMissing(f"traces of frames ({KEY})", "otel") from err


def open_traces(config: Config, resources: ExitStack) -> FrameTrace | None:
    """None where they are off; ``resources`` end them.

    Raises:
        ExtraMissing: their library is not installed.
    """
    if config.telemetry is None or config.is_safe_mode:
        return None
    require_telemetry()
    from edge_runtime.daemon.frame_traces import FrameTraces

    traces = FrameTraces(config.telemetry, config.device)
    resources.callback(traces.close)
    return traces
