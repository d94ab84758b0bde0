"""Events as text for people: the same in the log, on the status page and in the summary. Pure."""

from edge_runtime.messaging import events
from edge_runtime.messaging.events import Fact

LASTING = "not tried again until the model or the configuration changes, or on command"


def is_trouble(fact: Fact) -> bool:
    """Whether a person should look: drift, a refused edit, a damaged version, a task that failed."""
    if isinstance(fact, events.HealthChanged):
        return fact.reason is not None
    if isinstance(fact, events.PatchProposed):
        return True
    if isinstance(fact, events.ConfigApplied):
        return bool(fact.warnings)
    if isinstance(fact, events.PatchTried):
        return fact.outcome in ("refused", "inconclusive", "failed")
    if isinstance(fact, events.RolloutMoved):
        return fact.stage == "refused" or fact.paused is not None
    return isinstance(
        fact,
        events.DriftAlarm
        | events.ConfigRefused
        | events.ConfigUndone
        | events.TaskFailed
        | events.StateDamaged
        | events.VersionSkipped
        | events.DeliveryTrouble,
    )


def describe(fact: Fact) -> list[str]:
    """A headline, then lines of detail."""
    match fact:
        case events.ConfigApplied():
            return _describe_edit(fact)
        case events.ConfigRefused():
            effect = "safe mode, no stream and no model runs" if fact.safe_mode else "the last good one stays"
            return [f"configuration refused, {effect}", *fact.problems]
        case events.ConfigUndone(by, undone, reason):
            return [f"configuration edit by {by} taken back: {', '.join(undone)}", reason]
        case events.VersionSkipped():
            return [
                f"another version of the bundle answers than the one that should: {fact.bundle}",
                fact.problem,
            ]
        case events.StateDamaged():
            return [f"a file of the state cannot be used: {fact.lost}", f"{fact.file}: {fact.problem}"]
        case events.VersionMended():
            return [
                f"the newer version of the bundle can be used now: {fact.bundle} instead of {fact.before}"
            ]
        case events.RolloutMoved():
            return _describe_rollout(fact)
        case events.DeliveryTrouble():
            return [f"not everything is delivered ({fact.channel})", *fact.problems]
        case events.DeliveryRecovered():
            return [f"everything is delivered again ({fact.channel})"]
        case events.RecordingBegun(by, cameras):
            return [f"{by} records pictures of {', '.join(cameras)}"]
        case events.RecordingEnded(by, cameras, seconds, frames, left_out, reason):
            counts = f"{frames} pictures in {seconds:.0f} s" + (f", {left_out} left out" if left_out else "")
            return [f"recording of {', '.join(cameras)} by {by} ended: {counts}", reason]
        case events.HealthChanged(part, state, reason):
            # Of a calibration's notes the last one only ends, perhaps because a drift is being corrected now.
            end = "nothing to note" if part.startswith("calibration ") else "well again"
            return [f"{part}: {end}" if reason is None else f"{part} ({state}): {reason}"]
        case events.Commissioned():
            return [f"baseline {fact.name} recorded from {fact.frames} healthy frames ({fact.taps} taps)"]
        case events.TaskFailed():
            task = "commissioning" if fact.task == "commission" else "recalibration"
            task = f"dry run of a {task}" if fact.dry_run else task
            return [f"{task} failed: {fact.error}", *([LASTING] if fact.is_lasting else [])]
        case events.BaselineChanged():
            return [
                f"what is seen is nearer to the baseline {fact.after} now than to {fact.before}: no drift"
            ]
        case events.PatchesPaused() | events.PatchResumed():
            return [f"baseline: {fact.reason}"]
        case events.DriftAlarm(figures):
            return [f"drift alarm: {_drift_text(figures)} ({figures.verdict})"]
        case events.Recalibrated(report, generation):
            found = (
                f"{report.candidate}, known from an earlier drift" if report.is_known else report.candidate
            )
            return [
                f"recalibrated in {report.seconds:.1f} s: {found}; active is {generation}",
                *report.reasons,
            ]
        case events.PatchProposed(report, patch):
            how = "send 'approve-patch' or 'reject-patch'"
            return [
                f"patch {patch} was accepted in {report.seconds:.1f} s and waits for a person: {how}",
                *report.reasons,
            ]
        case events.PatchObserved(report):
            return [
                f"a patch was accepted in {report.seconds:.1f} s and is not used: the box only observes",
                *report.reasons,
            ]
        case events.DryRunEnded(report):
            decided = f"accepts {report.candidate!r}" if report.accepted else "refuses"
            return [
                f"dry run of {report.seconds:.1f} s, nothing changed: the gate {decided}",
                *report.reasons,
            ]
        case events.ProposalEnded(patch, outcome, reason, generation):
            active = "" if generation is None else f", active is {generation}"
            return [f"patch {patch} that waited was {outcome}{active}: {reason}"]
        case events.PatchTried():
            return _describe_shadow(fact)
        case events.RecalibrationRefused(report):
            return [f"recalibration refused after {report.seconds:.1f} s, nothing changed", *report.reasons]
        case events.RolledBack():
            return [f"rolled back from {fact.before} to {fact.after}: {fact.reason}"]


def _describe_edit(edit: events.ConfigApplied) -> list[str]:
    now = [path for path in edit.changed if path not in edit.after_restart]
    lines = [f"configuration edit applied: {', '.join(now)}"] if now else []
    if edit.after_restart:
        lines.append(f"configuration edit that waits for a restart: {', '.join(edit.after_restart)}")
    return [*(lines or ["the configuration is the one in force again"]), *edit.warnings]


def _drift_text(figures: events.DriftFigures) -> str:
    """Names the figure that raised the alarm: a small excess that lasts raises one while the score is low."""
    is_slow = figures.score <= figures.threshold < figures.cusum
    name, value = ("lasting excess", figures.cusum) if is_slow else ("score", figures.score)
    return f"{name} {value:.3g}, threshold {figures.cusum_threshold if is_slow else figures.threshold:.3g}"


def _describe_shadow(fact: events.PatchTried) -> list[str]:
    words = {
        "begun": f"patch {fact.patch} answers in the shadow, {fact.active} answers",
        "waits": f"patch {fact.patch} waits for its turn in the shadow",
        "active": f"patch {fact.patch} was tried in the shadow; active is {fact.generation}",
        "refused": f"patch {fact.patch} was refused in the shadow, nothing changed",
        "inconclusive": f"patch {fact.patch} came to no verdict in the shadow and waits for a person",
        "failed": f"patch {fact.patch} could not be tried or used, nothing changed",
        "withdrawn": f"patch {fact.patch} is tried no longer, nothing changed",
        "rejected": f"patch {fact.patch} was rejected in the shadow",
    }
    return [words[fact.outcome], fact.reason]


def _describe_rollout(fact: events.RolloutMoved) -> list[str]:
    words = {
        "staged": "is being opened",
        "shadow": "answers in the shadow",
        "canary": "answers a part of the frames",
        "watched": "answers everything, and is watched",
        "active": "is active for good",
        "refused": f"is refused, {fact.active} answers",
    }
    headline = f"new version {fact.bundle} {words.get(fact.stage, fact.stage)}"
    if not fact.paused:
        return [headline, fact.reason]
    asks = "paused until a person decides (promote, abort or resume)"
    return [headline, fact.reason, asks if fact.paused in fact.reason else f"{asks}: {fact.paused}"]
