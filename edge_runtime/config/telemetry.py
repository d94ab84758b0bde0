"""The section ``telemetry``: where traces of frames go."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from edge_runtime.config.section import Section
from edge_runtime.config.values import refusal


def _check_collector(value: str) -> str:
    """No user and no password: what a collector wants to see of these belongs into its headers."""
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", value):
        raise refusal(
            "http:// or https:// with a host and no password, such as http://collector.example:4318"
        )
    return value.rstrip("/")


class TelemetryConfig(Section):
    """Traces of single frames for OpenTelemetry. Needs the extra 'otel'."""

    otlp: Annotated[str, AfterValidator(_check_collector)] = Field(examples=["http://collector.example:4318"])
    """Address of a collector that takes OTLP over HTTP; /v1/traces is put behind it. Headers are those of the variable
    OTEL_EXPORTER_OTLP_HEADERS."""
    traces_per_s: float = Field(default=1.0, gt=0, le=10)
    """Frames of each model that are traced at most, a second."""
