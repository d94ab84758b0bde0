"""The stages of a rollout, how long each takes, and what that means for the clock."""

from dataclasses import dataclass
from enum import StrEnum

from edge_runtime.config import RolloutConfig, RolloutMetric

LEAST_FRAMES = 30
"""Judged in a stage that the configuration gives none: the watch, or a shadow that waits for a person."""


SHOWN_OF_PATCHES: tuple[RolloutMetric, ...] = ("agreement", "confidence")
"""A patch is meant to change answers: these are measured and shown of it, and decide nothing."""


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
    """Worst time, from the beginning of canary or watch, until a fault that is there from then on is acted on."""
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


def plan_of_patch(plan: RolloutConfig, frames: int, longest_s: float) -> RolloutConfig:
    """By which a patch of the active version is tried: in the shadow alone, held to the limits of versions.

    Args:
        plan: Of the model's versions.
        frames: That it answers in the shadow.
        longest_s: Without a clear verdict after this time a person is asked, seconds.
    """
    shadow = plan.shadow.model_copy(update={"frames": frames, "longest_s": longest_s})
    return plan.model_copy(update={"shadow": shadow, "dry_run": (*plan.dry_run, *SHOWN_OF_PATCHES)})


def times_of(config: RolloutConfig, fps: float | None, canary_fps: float | None = None) -> Times:
    """When a rollout promotes at the earliest, and how long a bad version can go on answering.

    Args:
        config: The plan.
        fps: Frames per second of all cameras of the model together; None: not known.
        canary_fps: Of the cameras in ``canary.streams`` together; not used without such.

    Raises:
        ValueError: a frame rate that is not above 0.
    """
    for rate in (fps, canary_fps):
        if rate is not None and not rate > 0:
            raise ValueError(f"{rate} frames a second; expected more than 0")
    if not config.canary.streams:
        canary_fps = None if fps is None else fps * config.canary.share
    shadow_s, canary_s = (
        _duration_of(config.shadow.frames, fps),
        _duration_of(config.canary.frames, canary_fps),
    )
    watched = length_of(config, Stage.WATCHED)
    watched_s = _duration_of(watched.frames, fps)
    if not config.shadow.frames and not config.canary.frames:
        shadow_s = watched_s  # of the active version, to compare with
    promotes_after_s = None if shadow_s is None or canary_s is None else shadow_s + canary_s
    worst_s = watched.longest_s if watched_s is None else min(watched_s, watched.longest_s)
    if config.canary.frames:
        longest_s = config.canary.longest_s
        worst_s = max(worst_s, longest_s if canary_s is None else min(canary_s, longest_s))
    return Times(promotes_after_s, worst_s, _words(config, promotes_after_s, worst_s))


def _duration_of(frames: int, fps: float | None) -> float | None:
    if frames == 0:
        return 0.0
    return None if fps is None else frames / fps


def _words(config: RolloutConfig, promotes_after_s: float | None, worst_s: float) -> str:
    if promotes_after_s is None:
        frames = config.shadow.frames + config.canary.frames or length_of(config, Stage.WATCHED).frames
        promotes = f"is promoted after {frames} frames at the earliest"
    else:
        promotes = f"is promoted after {_in_words(promotes_after_s)} at the earliest"
    if config.promote == "ask":
        promotes += ", by command" if config.promote_at is None else f", by command or at {config.promote_at}"
    return f"{promotes}, and rolled back within {_in_words(worst_s)}"


def _in_words(seconds: float) -> str:
    """Rounded up, as a bound is."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{-int(-seconds // size)} {unit}"
    return f"{-int(-seconds // 1)} s"
