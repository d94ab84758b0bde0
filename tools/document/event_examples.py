"""One event of every type, with the JSON that subscribers have had since before events were typed."""

from collections.abc import Mapping
from typing import Any

from calibration.verdict import FrameCounts
from edge_runtime.datatypes import Generation
from edge_runtime.messaging.events import (
    BaselineChanged,
    BaselineScore,
    Commissioned,
    ConfigApplied,
    ConfigRefused,
    ConfigUndone,
    DeliveryRecovered,
    DeliveryTrouble,
    DriftAlarm,
    DriftFigures,
    DryRunEnded,
    HealthChanged,
    PatchesPaused,
    PatchFacts,
    PatchObserved,
    PatchProposed,
    PatchResumed,
    PatchTried,
    ProposalEnded,
    Recalibrated,
    RecalibrationRefused,
    RecalibrationReport,
    RecordingBegun,
    RecordingEnded,
    RolledBack,
    RolloutMoved,
    StateDamaged,
    TaskFailed,
    VersionMended,
    VersionSkipped,
)

BASE, PATCHED = Generation("parts/1"), Generation("parts/1", "p1")


def a_report(*, accepted: bool = True, **fields: Any) -> RecalibrationReport:
    """The report of a recalibration, as its process writes it."""
    patch = PatchFacts("5f1c", "input", 49, 9424, 64, "aa", "b1", 1795966859.0, 81920)
    values: dict[str, Any] = {
        "accepted": accepted,
        "candidate": "input" if accepted else "identity",
        "reasons": ("better by 0.031",) if accepted else ("in doubt",),
        "notes": (),
        "patch": patch if accepted else None,
        "scores": {"input": {"gain": 0.031, "spread": None}} if accepted else {},
        "drift": {"input": 0.42},
        "frames": FrameCounts(64, {"repeated": 3}, 45, 16, 48, 48),
        "skipped_layers": {"conv_1": "it has no bias"},
        "channels_left_alone": 2,
        "channels_clipped": 1,
        "seconds": 12.345,
        "extra_memory_mb": 210.5,
        "model_sha256": "bb" if accepted else "aa",
        "baseline_id": "b1",
        "seed": 0,
        "cause": "drift alarm",
        "at": 1795966859.5,
    }
    return RecalibrationReport(**{**values, **fields})


FIGURES = DriftFigures(True, 1.62, 1.0, 0.8, 1.0, True, "sensor", "layers", 0.31, 4096)

ACCEPTED_DATA = {
    "accepted": True, "candidate": "input", "reasons": ["better by 0.031"], "notes": [],
    "patch": {
        "id": "5f1c", "candidate": "input", "taps": 49, "channels": 9424, "frames": 64, "model_sha256": "aa",
        "baseline_id": "b1", "created_wall_s": 1795966859.0, "size_bytes": 81920},
    "scores": {"input": {"gain": 0.031, "spread": None}}, "drift": {"input": 0.42},
    "frames": {"given": 64, "left_out": {"repeated": 3}, "observed": 45, "judged": 16,
               "witness": 48, "distilled_from": 48},
    "skipped_layers": {"conv_1": "it has no bias"}, "channels_left_alone": 2, "channels_clipped": 1,
    "seconds": 12.345, "extra_memory_mb": 210.5, "model_sha256": "bb", "baseline_id": "b1", "seed": 0,
    "cause": "drift alarm", "at": 1795966859.5, "reference": "live",
    "report": "parts/p1", "generation": "parts/1+p1"}  # fmt: skip

A_COMPARISON: Mapping[str, float | str | None] = {
    "name": "label_share", "label": "bolt", "is_paired": True, "difference": -0.08, "low": -0.13, "high": -0.04,
    "frames": 200, "active_frames": 200, "frames_needed": None,
    "text": "share of 'bolt' -8.0 points (-13.0 to -4.0), 200 frames"}  # fmt: skip

EXAMPLES = {
    "applied": (ConfigApplied(("device", "drift.window_frames"), ("device",)), "config", {
        "accepted": True, "changed": ["device", "drift.window_frames"], "after_restart": ["device"], "warnings": []}),
    "applied with a warning": (
        ConfigApplied(("trust.require_signed",), (), ("models.parts: parts/1 is unsigned",)), "config", {
            "accepted": True, "changed": ["trust.require_signed"], "after_restart": [],
            "warnings": ["models.parts: parts/1 is unsigned"]}),
    "config refused": (ConfigRefused(("line 3: models.a.threads: 0; expected 1 to 256",)), "config", {
        "accepted": False, "problems": ["line 3: models.a.threads: 0; expected 1 to 256"], "safe_mode": False}),
    "safe mode": (ConfigRefused(("line 1: device: missing; expected a name",), safe_mode=True), "config", {
        "accepted": False, "problems": ["line 1: device: missing; expected a name"], "safe_mode": True}),
    "config undone": (ConfigUndone("anna", ("mqtt.host",), "the broker was not reached within 60 s"), "config", {
        "accepted": False, "by": "anna", "undone": ["mqtt.host"], "reason": "the broker was not reached within 60 s"}),
    "version skipped": (VersionSkipped("parts/1", "no bundle.yaml in it"), "bundle", {
        "bundle": "parts/1", "problem": "no bundle.yaml in it"}),
    "state damaged": (StateDamaged("models/parts/active.json", "the base answers", "unexpected end of data"), "state", {
        "file": "models/parts/active.json", "lost": "the base answers", "problem": "unexpected end of data"}),
    "version mended": (VersionMended("parts/2", "parts/1"), "bundle", {"bundle": "parts/2", "from": "parts/1"}),
    "rollout refused": (RolloutMoved("parts/3", "parts/2", "shadow", "refused", "agreement 0.41 is below 0.8",
        findings={"agreement": {"value": 0.41, "limit": 0.8, "verdict": "fail", "low": 0.34, "high": 0.48}},
        comparisons=(A_COMPARISON,), report="parts/t1"), "rollout", {
        "bundle": "parts/3", "active": "parts/2", "from": "shadow", "stage": "refused",
        "reason": "agreement 0.41 is below 0.8", "paused": None,
        "findings": {"agreement": {"value": 0.41, "limit": 0.8, "verdict": "fail", "low": 0.34, "high": 0.48}},
        "comparisons": [A_COMPARISON], "report": "parts/t1"}),
    "rollout asks": (RolloutMoved("parts/3", "parts/2", "shadow", "shadow", "agreement 0.82", paused="agreement 0.82",
        findings={"agreement": {"value": 0.82, "limit": 0.8, "verdict": "inconclusive", "low": 0.76, "high": 0.87,
                                "frames_needed": 1600}}), "rollout", {
        "bundle": "parts/3", "active": "parts/2", "from": "shadow", "stage": "shadow",
        "reason": "agreement 0.82", "paused": "agreement 0.82", "comparisons": [],
        "findings": {"agreement": {"value": 0.82, "limit": 0.8, "verdict": "inconclusive", "low": 0.76, "high": 0.87,
                                   "frames_needed": 1600}}}),
    "delivery trouble": (DeliveryTrouble("mqtt", ("edge/belt-3/event waits: not authorized",)), "delivery", {
        "channel": "mqtt", "problems": ["edge/belt-3/event waits: not authorized"]}),
    "delivery recovered": (DeliveryRecovered("mqtt"), "delivery", {"channel": "mqtt"}),
    "recording begun": (RecordingBegun("root", ("belt", "gate")), "recording", {
        "by": "root", "cameras": ["belt", "gate"]}),
    "recording ended": (RecordingEnded("root", ("belt",), 60.2, 571, 3, "ended by its process"), "recording", {
        "by": "root", "cameras": ["belt"], "seconds": 60.2, "frames": 571, "left_out": 3,
        "reason": "ended by its process"}),
    "silent": (HealthChanged("source belt", "unready", "no frame for 12.0 s"), "health", {
        "part": "source belt", "state": "unready", "reason": "no frame for 12.0 s"}),
    "well again": (HealthChanged("source belt", "well", None), "health", {
        "part": "source belt", "state": "well", "reason": None}),
    "commissioned": (Commissioned("day", 96, 50, 41.5), "commissioned", {
        "frames": 96, "taps": 50, "effective_frames": 41.5, "name": "day"}),
    "commissioning failed": (TaskFailed("commission", "too dark", "first start", True), "commissioned", {
        "error": "too dark", "cause": "first start", "is_lasting": True}),
    "recalibration failed": (TaskFailed("recalibrate", "killed", "drift alarm", False), "recalibration", {
        "error": "killed", "cause": "drift alarm", "is_lasting": False}),
    "baseline changed": (
        BaselineChanged("day", "night", {
            "day": BaselineScore(False, True, 3.2, 1.0), "night": BaselineScore(True, False, None, None)}),
        "baseline", {
            "from": "day", "to": "night", "scores": {
                "day": {"in_use": False, "is_expired": True, "score": 3.2, "threshold": 1.0},
                "night": {"in_use": True, "is_expired": False, "score": None, "threshold": None}}}),
    "patches paused": (PatchesPaused("it has expired"), "baseline", {"no_patch": "it has expired"}),
    "patch resumed": (PatchResumed(PATCHED, "it was active before"), "baseline", {
        "generation": "parts/1+p1", "reason": "it was active before"}),
    "drift": (DriftAlarm(FIGURES), "drift", {
        "ready": True, "score": 1.62, "threshold": 1.0, "cusum": 0.8, "cusum_threshold": 1.0, "drifted": True,
        "verdict": "sensor", "sign": "layers", "answers_score": 0.31, "frames": 4096}),
    "recalibrated": (Recalibrated(a_report(report="parts/p1"), PATCHED), "recalibration", ACCEPTED_DATA),
    "recalibration refused": (RecalibrationRefused(a_report(accepted=False)), "recalibration", {
        "accepted": False, "candidate": "identity", "reasons": ["in doubt"], "notes": [], "patch": None,
        "scores": {}, "drift": {"input": 0.42},
        "frames": {"given": 64, "left_out": {"repeated": 3}, "observed": 45, "judged": 16,
                   "witness": 48, "distilled_from": 48},
        "skipped_layers": {"conv_1": "it has no bias"}, "channels_left_alone": 2, "channels_clipped": 1,
        "seconds": 12.345, "extra_memory_mb": 210.5, "model_sha256": "aa", "baseline_id": "b1", "seed": 0,
        "cause": "drift alarm", "at": 1795966859.5, "reference": "live"}),
    "patch reused": (
        Recalibrated(a_report(candidate="p1", is_known=True, report="parts/r1"), PATCHED), "recalibration",
        {**ACCEPTED_DATA, "is_known": True, "candidate": "p1", "report": "parts/r1"}),
    "patch proposed": (PatchProposed(a_report(report="parts/p1"), "p1"), "recalibration", {
        **{key: ACCEPTED_DATA[key] for key in ACCEPTED_DATA if key != "generation"}, "waits": "p1"}),
    "patch observed": (PatchObserved(a_report(report="parts/r1")), "recalibration", {
        **{key: ACCEPTED_DATA[key] for key in ACCEPTED_DATA if key != "generation"}, "report": "parts/r1"}),
    "dry run": (
        DryRunEnded(a_report(report="parts/d1", reference="night", dry_run=True, cause="command")), "recalibration", {
            **{key: ACCEPTED_DATA[key] for key in ACCEPTED_DATA if key != "generation"}, "report": "parts/d1",
            "reference": "night", "dry_run": True, "cause": "command"}),
    "dry run failed": (TaskFailed("recalibrate", "killed", "command", False, dry_run=True), "recalibration", {
        "error": "killed", "cause": "command", "is_lasting": False, "dry_run": True}),
    "patch approved": (ProposalEnded("p1", "approved", "command", PATCHED), "proposal", {
        "patch": "p1", "outcome": "approved", "reason": "command", "generation": "parts/1+p1"}),
    "patch withdrawn": (ProposalEnded("p1", "withdrawn", "the drift is over"), "proposal", {
        "patch": "p1", "outcome": "withdrawn", "reason": "the drift is over"}),
    "patch in the shadow": (PatchTried("p1", "begun", "parts/1", "the gate accepted it"), "shadow", {
        "patch": "p1", "outcome": "begun", "active": "parts/1", "reason": "the gate accepted it", "findings": {}}),
    "patch refused in the shadow": (
        PatchTried("p1", "refused", "parts/1", "3 frames failed in a row",
                   {"failures_in_a_row": {"value": 3, "limit": 3, "verdict": "fail"}}, "parts/t1"), "shadow", {
        "patch": "p1", "outcome": "refused", "active": "parts/1", "reason": "3 frames failed in a row",
        "findings": {"failures_in_a_row": {"value": 3, "limit": 3, "verdict": "fail"}}, "report": "parts/t1"}),
    "patch inconclusive in the shadow": (
        PatchTried("p1", "inconclusive", "parts/1", "31 of 200 frames",
                   {"agreement": {"value": 0.7, "limit": 0.8, "verdict": "inconclusive", "low": 0.55, "high": 0.82,
                                  "frames_needed": 160}}, "parts/t1"), "shadow", {
        "patch": "p1", "outcome": "inconclusive", "active": "parts/1", "reason": "31 of 200 frames",
        "findings": {"agreement": {"value": 0.7, "limit": 0.8, "verdict": "inconclusive", "low": 0.55, "high": 0.82,
                                   "frames_needed": 160}}, "report": "parts/t1"}),
    "patch passed the shadow": (
        PatchTried("p1", "active", "parts/1", "all metrics pass", {}, "parts/t1", PATCHED), "shadow", {
        "patch": "p1", "outcome": "active", "active": "parts/1", "reason": "all metrics pass", "findings": {},
        "report": "parts/t1", "generation": "parts/1+p1"}),
    "patch approved for the shadow": (ProposalEnded("p1", "approved", "command"), "proposal", {
        "patch": "p1", "outcome": "approved", "reason": "command"}),
    "rolled back": (RolledBack(PATCHED, BASE, "command"), "rollback", {
        "from": "parts/1+p1", "to": "parts/1", "reason": "command"}),
}  # fmt: skip
"""By name: the fact, its kind, and its data without ``model`` and ``outcome``."""
