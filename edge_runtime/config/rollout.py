"""The section ``models.NAME.rollout``: how a newer version of a bundle takes over from the active one.

What the limits mean is decided in ``deployment.rollout_policy``.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from edge_runtime.config.section import Section
from edge_runtime.config.values import CronLine, Name, Seconds

RolloutMetric = Literal[
    "failures", "failures_in_a_row", "latency", "agreement", "confidence", "answers", "memory"
]
"""What a candidate is measured by; ``dry_run`` and the findings of a verdict use these names."""


class ShadowConfig(Section):
    """The candidate answers copies of frames on spare time; nothing it says is published."""

    frames: int = Field(default=200, ge=0, le=1_000_000)
    """Frames it answers before it may go on; 0: no shadow."""
    longest_s: Seconds = 3600.0
    """Without a clear verdict after this time the rollout pauses and asks, seconds."""
    cpu: float = Field(default=0.25, gt=0, le=256)
    """CPU time it may use, in cores: 0.25 is a quarter of one."""


class CanaryConfig(Section):
    """The candidate answers a part of the frames, and its answers are published."""

    frames: int = Field(default=200, ge=0, le=1_000_000)
    """Frames it answers before it may go on; 0: no canary."""
    longest_s: Seconds = 3600.0
    """Without a clear verdict after this time the rollout pauses and asks, seconds."""
    share: float = Field(default=0.1, gt=0, lt=1)
    """Share of the frames of every stream that it answers, 0..1. Not used where streams are named."""
    streams: tuple[Name, ...] = Field(default=(), max_length=64, examples=[["belt"]])
    """Cameras whose frames it answers, all of them; empty: a share of every one."""


class RolloutLimitsConfig(Section):
    """Beyond these the candidate is refused and the previous version answers again."""

    agreement: float = Field(default=0.8, ge=0, le=1)
    """Least agreement with the active version on the same frames, 0..1: share of equal labels, or F1 of boxes."""
    failures: float = Field(default=0.01, ge=0, le=1)
    """Largest share of frames without an answer: errors of the engine, outputs that are not numbers."""
    failures_in_a_row: int = Field(default=3, ge=1, le=10_000)
    """So many frames in a row without an answer end it at once."""
    latency_ratio: float = Field(default=1.5, ge=1, le=1000)
    """Largest latency as a multiple of the active version's: of medians in shadow, of 99th percentiles after it."""
    latency_ms: float = Field(default=5.0, ge=0, le=600_000)
    """A smaller difference of latency is never too much, milliseconds."""
    confidence: float = Field(default=0.5, ge=0, le=1)
    """Least mean confidence as a share of the active version's."""
    memory_mib: int = Field(default=256, ge=1, le=1_048_576)
    """Most that the daemon's memory may grow while the candidate runs, after it was opened, MiB."""


class RolloutConfig(Section):
    """A newer version is tried before it answers everything: shadow, canary, then watched after its promotion."""

    shadow: ShadowConfig = Field(default_factory=ShadowConfig)
    """First stage."""
    canary: CanaryConfig = Field(default_factory=CanaryConfig)
    """Second stage."""
    promote: Literal["auto", "ask"] = "auto"
    """auto: a candidate that passed answers everything; ask: it waits for the command 'promote'."""
    promote_at: CronLine | None = Field(default=None, examples=["0 3 * * *"])
    """With promote: ask: a candidate that passed and waits answers everything from this time on, unless it has failed
    meanwhile. Cron line in local time: minute hour day month weekday. null: by command only."""
    watch_s: Seconds = 600.0
    """After the promotion the previous version stays loaded for this time, to roll back at once, seconds."""
    limits: RolloutLimitsConfig = Field(default_factory=RolloutLimitsConfig)
    """Limits."""
    dry_run: tuple[RolloutMetric, ...] = Field(default=(), examples=[["latency", "answers"]])
    """Metrics that are measured and shown, and do not decide: failures, failures_in_a_row, latency, agreement,
    confidence, answers (one label nearly always), memory."""

    @model_validator(mode="after")
    def _check_promotion(self) -> Self:
        is_used = self.promote_at is None or self.promote == "ask"
        self.require(is_used, "promote", "ask, since promote_at is a time", found=self.promote)
        return self
