"""The stages of a version, and which one follows: a transition table.

```
STAGED ──opened──> SHADOW ──pass──> CANARY ──pass──> WATCHED ──pass──> ACTIVE
   any of the first four ──fail, abort──> REFUSED
```
- A stage with 0 frames is left out. Where neither SHADOW nor CANARY has any, the caller keeps it STAGED until it knows
  what the active version answers, or the watch would have nothing to compare with.
- INCONCLUSIVE pauses with its reason: a person decides, nothing is promoted. A paused trial stays measured and can
  still fail; nothing but a command takes it further.
- With ``promote: ask`` a candidate that passed pauses before WATCHED. Where no stage is left for that it runs in
  shadow.
- ``promote`` goes on to WATCHED at once, from WATCHED to ACTIVE; ``abort`` refuses; ``resume`` begins the time of a
  stage anew.
- A restart loses the figures, so a trial begins again at STAGED, still paused if it was; it is refused when the process
  ended twice with it on board.
- ACTIVE and REFUSED are final. An illegal step raises and changes nothing.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from edge_runtime.config import RolloutConfig
from edge_runtime.deployment.rollout import IllegalStep
from edge_runtime.deployment.rollout_policy.crash_loop import MOST_ENDS
from edge_runtime.deployment.rollout_policy.plan import Stage
from edge_runtime.deployment.rollout_policy.verdict import RolloutVerdict, VerdictKind

__all__ = [
    "ASKS",
    "Command",
    "Stage",
    "Trial",
    "after_command",
    "after_opening",
    "after_restart",
    "after_verdict",
]

ASKS = "passed; waits for the command 'promote'"
BY_COMMAND = "by command"

_MEASURED = frozenset({Stage.SHADOW, Stage.CANARY, Stage.WATCHED})
_FINAL = frozenset({Stage.ACTIVE, Stage.REFUSED})


class Command(StrEnum):
    """What a person may say about a rollout."""

    PROMOTE = "promote"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Trial:
    """One version on its way."""

    version: int
    stage: Stage
    since_s: float
    """When the stage, or its time after ``resume``, began: monotonic seconds."""
    paused: str | None = None
    """Why a person is asked; None: it goes on by itself."""
    refused: str | None = None
    """Why, in REFUSED."""


def after_opening(trial: Trial, plan: RolloutConfig, now_s: float, problem: str | None = None) -> Trial:
    """The candidate was opened and self-tested, or could not be because of ``problem``.

    Raises:
        IllegalStep: it is not STAGED.
    """
    if trial.stage is not Stage.STAGED:
        raise _illegal("open", trial)
    if problem is not None:
        return _refuse(trial, problem, now_s)
    stage = _next(Stage.STAGED, plan)
    if trial.paused is not None:
        return replace(trial, stage=Stage.SHADOW, since_s=now_s)
    if stage is Stage.WATCHED and plan.promote == "ask":
        return replace(trial, stage=Stage.SHADOW, since_s=now_s, paused=ASKS)
    return replace(trial, stage=stage, since_s=now_s)


def after_verdict(trial: Trial, verdict: RolloutVerdict, plan: RolloutConfig, now_s: float) -> Trial:
    """The figures of the stage were judged.

    Raises:
        IllegalStep: the stage is not one that is measured.
    """
    if trial.stage not in _MEASURED:
        raise _illegal("judge", trial)
    match verdict.kind:
        case VerdictKind.FAIL:
            return _refuse(trial, verdict.text, now_s)
        case VerdictKind.INCONCLUSIVE if trial.paused is None:
            return replace(trial, paused=verdict.text)
        case VerdictKind.PASS if trial.paused is None:
            stage = _next(trial.stage, plan)
            if stage is Stage.WATCHED and plan.promote == "ask":
                return replace(trial, paused=ASKS)
            return replace(trial, stage=stage, since_s=now_s)
    return trial


def after_command(trial: Trial, command: Command, now_s: float, reason: str = BY_COMMAND) -> Trial:
    """A person decided.

    Raises:
        IllegalStep: final already; not opened yet (promote); paused already (pause), or not (resume).
    """
    if trial.stage in _FINAL:
        raise _illegal(command, trial)
    match command:
        case Command.PROMOTE if trial.stage is Stage.WATCHED:
            return replace(trial, stage=Stage.ACTIVE, since_s=now_s, paused=None)
        case Command.PROMOTE if trial.stage is not Stage.STAGED:
            return replace(trial, stage=Stage.WATCHED, since_s=now_s, paused=None)
        case Command.ABORT:
            return _refuse(trial, reason, now_s)
        case Command.PAUSE if trial.paused is None:
            return replace(trial, paused=reason)
        case Command.RESUME if trial.paused is not None:
            return replace(trial, since_s=now_s, paused=None)
    raise _illegal(command, trial)


def after_restart(trial: Trial, ends: int, now_s: float) -> Trial:
    """The process was started again.

    Args:
        trial: As it was recorded.
        ends: How often the process ended with this version on board, other than by a stop.
        now_s: The new process's monotonic time; ``since_s`` of before means nothing in it.
    """
    if trial.stage in _FINAL:
        return trial
    if ends >= MOST_ENDS:
        return _refuse(trial, f"the process ended {ends} times with it on board", now_s)
    return replace(trial, stage=Stage.STAGED, since_s=now_s)


def _next(stage: Stage, plan: RolloutConfig) -> Stage:
    """The next stage that has frames."""
    if stage is Stage.WATCHED:
        return Stage.ACTIVE
    if stage is Stage.STAGED and plan.shadow.frames:
        return Stage.SHADOW
    if stage is not Stage.CANARY and plan.canary.frames:
        return Stage.CANARY
    return Stage.WATCHED


def _refuse(trial: Trial, reason: str, now_s: float) -> Trial:
    return replace(trial, stage=Stage.REFUSED, since_s=now_s, paused=None, refused=reason)


def _illegal(step: str, trial: Trial) -> IllegalStep:
    paused = f", paused: {trial.paused}" if trial.paused is not None else ""
    return IllegalStep(step, trial, f"version {trial.version} is {trial.stage}{paused}")
