"""What a run did, as lines for a person: printed when ``run --for`` or the demo ends. Pure: facts in, text out."""

from collections.abc import Sequence

from edge_runtime.cli.demo.agreement import Agreement
from edge_runtime.daemon.model_runtime import ModelStatus
from edge_runtime.daemon.status import DaemonStatus
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.messaging.event_forms import as_data
from edge_runtime.messaging.event_text import describe
from edge_runtime.messaging.events import Fact
from edge_runtime.system.milliseconds import format_ms


def summarise(
    status: DaemonStatus, events: Sequence[tuple[float, Fact]], agreements: Sequence[Agreement]
) -> str:
    """The summary.

    ``events`` have the seconds since the start, oldest first.
    """
    first_s = status.first_result_s
    first = "never" if first_s is None else f"{first_s:.2f} s"
    lines = [f"ran {status.uptime_s:.1f} s, first result after {first}"]
    for name, model in status.models.items():
        late = sum(camera.dropped for camera in status.cameras.values() if camera.model == name)
        lines += _model_lines(name, model, late)
    lines.append("")
    for name, channel in status.delivery.items():
        lines.append(
            f"delivery to {name}: accepted {channel.enqueued}, delivered {channel.delivered}, "
            f"waiting {channel.pending}, lost {channel.dropped}"
        )
    lines += ["", "what happened:"]
    happened = []
    for after_s, fact in events:
        headline, *details = describe(fact)
        happened += [f"  {after_s:6.1f} s  {headline}", *(f"            {detail}" for detail in details)]
    lines += [*happened, *_camera_lines(status)] or ["  nothing to report"]
    for agreement in agreements:
        lines += ["", *_agreement_lines(agreement)]
    return "\n".join(lines)


def summarise_as_json(
    status: DaemonStatus, events: Sequence[tuple[float, Fact]], agreements: Sequence[Agreement]
) -> str:
    """The same for machines: the last status, the events with their seconds since the start, the agreements."""
    happened = [
        {"after_s": round(after_s, 3), "event": fact.kind, "data": as_data(fact)} for after_s, fact in events
    ]
    return encode_object({"status": status, "events": happened, "agreements": agreements}).decode()


def _model_lines(name: str, model: ModelStatus, late: int) -> list[str]:
    streams = model.streams.values()
    frames, results = sum(s.frames for s in streams), sum(s.results for s in streams)
    rejected = sum(sum(s.rejected.values()) for s in streams)
    dropped = model.dropped_oldest + model.dropped_stale
    lost = frames - results - rejected - dropped  # engine errors, or frames without an account
    counts = f"frames {frames}   results {results}   rejected {rejected}"
    lines = [
        "",
        f"model {name}: {model.generation} on {model.runs_on}",
        *(f"  note: {note}" for note in model.notes),
        f"  {counts}   dropped because late {late + dropped}   lost {lost}",
    ]
    if model.engine_errors:
        lines.append(
            f"  failed inferences {model.engine_errors}: their frames have no result; the log says why"
        )
    for label, ms in (("capture to result", model.total_ms), ("inference", model.infer_ms)):
        if ms is not None:
            lines.append(
                f"  {label}: p50 {format_ms(ms.p50)} ms, p99 {format_ms(ms.p99)} ms, max {format_ms(ms.max)} ms"
            )
    recalibration = model.recalibration
    if recalibration is not None:
        lines.append(
            f"  drift alarms {recalibration.alarms}   recalibrations {recalibration.recalibrations} "
            f"(accepted {recalibration.accepted}, refused {recalibration.refused}, failed {recalibration.failed})   "
            f"hot swaps {model.swaps}   roll-backs {recalibration.rollbacks}"
        )
        if recalibration.task is not None:
            lines.append(f"  not finished when the time was up: {recalibration.task}, {recalibration.phase}")
    return lines


def _camera_lines(status: DaemonStatus) -> list[str]:
    """Cameras that never gave a picture, and why."""
    frames = {
        stream: figures.frames
        for model in status.models.values()
        for stream, figures in model.streams.items()
    }
    return [
        f"  camera {stream} gave no picture: {camera.problem}"
        for stream, camera in status.cameras.items()
        if camera.problem and not frames.get(stream)
    ]


def _agreement_lines(agreement: Agreement) -> list[str]:
    what = "same pictures without the drift, base model"
    lines = [f"agreement with the undrifted run, stream {agreement.stream} ({what}):"]
    for label, share, frames in (
        ("before recalibration: ", agreement.before, agreement.before_frames),
        ("after recalibration:  ", agreement.after, agreement.after_frames),
    ):
        if share is not None:
            lines.append(f"  drifted, {label}{share:6.1%} of {frames} frames")
    if agreement.without is not None:
        lines.append(f"  those frames without the patch: {agreement.without:5.1%}")
    if agreement.before is None and agreement.after is None:
        lines.append("  no drifted frames were answered")
    return lines
