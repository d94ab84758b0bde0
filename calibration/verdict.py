"""What a recalibration tells: the verdict, and drift figures per tap; all of it JSON-able.

Pure values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import numpy as np

from calibration.patch import Patch
from calibration.targets.base import SkippedLayer


@dataclass(frozen=True, slots=True)
class FrameCounts:
    """Where the reference frames went."""

    given: int
    """Reference frames handed in."""
    left_out: Mapping[str, int]
    """By reason: shows nothing, repeated."""
    observed: int = 0
    """Used to measure."""
    judged: int = 0
    """Held out from measuring and used to judge."""
    healthy_samples: int = 0
    """Healthy samples under the simulated drift that candidates were judged on as well."""
    distilled_from: int = 0
    """Other healthy samples, from which patches were distilled."""

    def to_json(self) -> dict[str, Any]:
        """Plain data; files and events call the healthy samples ``witness``."""
        return {
            "given": self.given,
            "left_out": dict(self.left_out),
            "observed": self.observed,
            "judged": self.judged,
            "witness": self.healthy_samples,
            "distilled_from": self.distilled_from,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Verdict:
    """The answer to "may this model be recalibrated on these frames?". A no is a normal answer.

    Attributes:
        accepted: Whether a patch is worth deploying; it is to be taken off again when the drift ends.
        candidate: The candidate that was chosen; ``identity``, the unpatched model, when nothing is changed.
        patch: None unless accepted.
        reasons: Sentences for a person.
        scores: Every candidate's figures; empty when it was decided before any was tried.
        drift: Per tap, how far the reference is from the baseline, before any correction (symmetric KL, 0 is none).
        frames: Where the reference frames went.
        skipped_layers: BatchNorm-like layers that cannot be corrected, with the reason.
        channels_left_alone: Channels of the chosen candidate that could not take the correction (dead weights, int32
            overflow).
        channels_clipped: Channels of the chosen candidate whose scale hit its limit.
        seconds: Wall time of the recalibration.
        extra_memory_mb: How much the process's peak memory grew.
        model_sha256: The model file it is about.
        baseline_id: ``Baseline.id`` of the baseline that was used.
        seed: Seed of all draws; the same seed gives the same verdict.
        notes: What limits the answer, e.g. no healthy samples in the baseline.
        dead_channels: Of a signal: channels that give a constant value, counted from 0; then nothing is corrected.
    """

    accepted: bool
    candidate: str
    patch: Patch | None
    reasons: tuple[str, ...]
    scores: Mapping[str, Mapping[str, float]]
    drift: Mapping[str, float]
    frames: FrameCounts
    skipped_layers: tuple[SkippedLayer, ...] = ()
    channels_left_alone: int = 0
    channels_clipped: int = 0
    seconds: float = 0.0
    extra_memory_mb: float = 0.0
    model_sha256: str = ""
    baseline_id: str = ""
    seed: int = 0
    notes: tuple[str, ...] = ()
    dead_channels: tuple[int, ...] = ()

    def __repr__(self) -> str:
        reason = shorten(" ".join(self.reasons), 120, placeholder=" ...")
        return f"Verdict(accepted={self.accepted}, candidate={self.candidate!r}, patch={self.patch!r}, {reason!r})"

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``; the patch is described, not contained."""
        return {
            "accepted": self.accepted,
            "candidate": self.candidate,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
            "patch": None if self.patch is None else describe(self.patch),
            "scores": {name: _round(scores) for name, scores in self.scores.items()},
            "drift": _round(self.drift),
            "frames": self.frames.to_json(),
            "skipped_layers": {layer.name: layer.reason for layer in self.skipped_layers},
            "channels_left_alone": self.channels_left_alone,
            "channels_clipped": self.channels_clipped,
            "dead_channels": list(self.dead_channels),
            "seconds": round(self.seconds, 3),
            "extra_memory_mb": round(self.extra_memory_mb, 1),
            "model_sha256": self.model_sha256,
            "baseline_id": self.baseline_id,
            "seed": self.seed,
        }


def describe(patch: Patch) -> dict[str, Any]:
    """A patch in a few figures."""
    return {
        "id": patch.id,
        "candidate": patch.candidate,
        "taps": len(patch.taps),
        "channels": patch.channels,
        "frames": patch.frames,
        "model_sha256": patch.model_sha256,
        "baseline_id": patch.baseline_id,
        "created_wall_s": patch.created_wall_s,
        "size_bytes": len(patch.to_bytes()),
    }


def drift_summary(taps: Mapping[str, float]) -> dict[str, Any]:
    """Per-tap drift with its mean over the first two taps (the sensor) and over the rest (the content)."""
    values = list(taps.values())
    shallow, deep = float(np.mean(values[:2])), float(np.mean(values[2:] or values))
    return {"shallow": shallow, "deep": deep, "taps": _round(taps)}


def _round(values: Mapping[str, float]) -> dict[str, float | None]:
    """Six significant digits; JSON has no NaN."""
    return {name: float(f"{value:.6g}") if np.isfinite(value) else None for name, value in values.items()}
