"""The stages of a rollout, how long each takes, and what that means for the clock."""

from dataclasses import dataclass
from enum import StrEnum

from edge_runtime.config import RolloutConfig

LEAST_FRAMES = 30
"""Judged in a stage that the configuration gives none: the watch, or a shadow that waits for a person."""


class Stage(StrEnum):
    """How far a version is."""

    STAGED = "staged"
    """Installed; to be opened and self-tested."""
    SHADOW = "shadow"
    """Answers copies of frames, unpublished."""
    CANARY = "canary"
    """Answers a part of the frames."""
    WATCHED = "watched"
    """Promoted: answers everything, with the previous version still loaded."""
    ACTIVE = "active"
    REFUSED = "refused"
    """Final; the number of a mended version is a new one."""


@dataclass(frozen=True, slots=True)
class StageLength:
    """Bounds of one stage: it passes at the earliest after ``frames`` and ``least_s``, and asks after ``longest_s``."""

    frames: int
    least_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class Times:
    """The clock of a plan, before it starts. None: not known without a frame rate."""

    promotes_after_s: float | None
    """Earliest promotion: every frame is answered, nothing fails."""
    rolls_back_within_s: float
    """Worst time until a fault that is there from the beginning of a stage with published answers is acted on."""
    text: str


def length_of(config: RolloutConfig, stage: Stage) -> StageLength:
    """The bounds of SHADOW, CANARY or WATCHED.

    The watch takes ``watch_s``; where its frames have not come by then, at most as much longer as a canary.
    """
    shadow, canary = config.shadow, config.canary
    match stage:
        case Stage.SHADOW:
            return StageLength(shadow.frames or LEAST_FRAMES, 0.0, shadow.longest_s)
        case Stage.CANARY:
            return StageLength(canary.frames or LEAST_FRAMES, 0.0, canary.longest_s)
        case Stage.WATCHED:
            frames = canary.frames or shadow.frames or LEAST_FRAMES
            return StageLength(frames, config.watch_s, config.watch_s + canary.longest_s)
    raise ValueError(f"stage {stage}; expected shadow, canary or watched")


def times_of(config: RolloutConfig, fps: float | None) -> Times:
    """When a rollout promotes at the earliest, and how long a bad version can go on answering.

    Args:
        config: The plan.
        fps: Frames per second of all cameras of the model together; None: not known.

    Raises:
        ValueError: no positive frame rate.
    """
    if fps is not None and not fps > 0:
        raise ValueError(f"{fps} frames a second; expected more than 0")
    shadow, canary, watched = (
        length_of(config, stage) for stage in (Stage.SHADOW, Stage.CANARY, Stage.WATCHED)
    )
    # With named streams the rate is that of these cameras, which the plan does not know: the share is a stand-in.
    canary_s = None if fps is None else canary.frames / (fps * config.canary.share)
    promotes_after_s = None
    if fps is not None and canary_s is not None:
        promotes_after_s = (shadow.frames / fps if config.shadow.frames else 0.0) + (
            canary_s if config.canary.frames else 0.0
        )
    worst_s = watched.longest_s if fps is None else min(watched.longest_s, watched.frames / fps)
    if config.canary.frames:
        worst_s = max(worst_s, canary.longest_s if canary_s is None else min(canary.longest_s, canary_s))
    return Times(promotes_after_s, worst_s, _words(config, promotes_after_s, worst_s))


def _words(config: RolloutConfig, promotes_after_s: float | None, worst_s: float) -> str:
    if promotes_after_s is None:
        frames = config.shadow.frames + config.canary.frames
        promotes = f"promotes after {frames} frames at the earliest"
    else:
        promotes = f"promotes after {_duration(promotes_after_s)} at the earliest"
    if config.promote == "ask":
        promotes += ", by command"
    return f"{promotes}, rolls back within {_duration(worst_s)}"


def _duration(seconds: float) -> str:
    """Rounded up, as a bound is."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{-int(-seconds // size)} {unit}"
    return f"{-int(-seconds // 1)} s"
