"""Events of the control loop: baselines, drift, patches and what became of them. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from calibration.verdict import FrameCounts
from edge_runtime.datatypes import Generation
from edge_runtime.messaging.events.units import Count, Distance, Seconds, UnixTime


@dataclass(frozen=True, slots=True)
class DriftFigures:
    """How far the camera is from the baseline in use."""

    ready: bool
    """False until enough frames for a decision were seen."""
    score: Distance
    """Of the latest window from the baseline; ``threshold`` is where it becomes alarming."""
    threshold: Distance
    """1, more (up to 4) while the answers show fewer contents than usual."""
    cusum: Distance
    """Slow drift; ``cusum_threshold`` is where it becomes alarming."""
    cusum_threshold: Distance
    """The slow drift that is alarming."""
    drifted: bool
    """True from an alarm until the score has returned to healthy."""
    verdict: Literal["healthy", "sensor", "content"]
    """``sensor``: the picture has changed. ``content``: only the answers have, or few contents explain the picture."""
    sign: str
    """Where it shows most: ``layers`` (colour, contrast; or level, gain); of pictures ``detail`` (sharpness, noise) or
    ``grid`` (fall of light); of windows ``spectrum`` (band, noise) or ``dropout`` (held values)."""
    answers_score: Distance | None
    """Of the model's answers; None when the baseline holds none."""
    frames: Count
    """Sampled frames that were seen since the monitor began."""


@dataclass(frozen=True, slots=True)
class BaselineScore:
    """How one baseline fits what the camera shows."""

    in_use: bool
    """Now."""
    is_expired: bool
    """No patch is made from it any more."""
    score: Distance | None
    """Of the camera's pictures from it; None before the first frame."""
    threshold: Distance | None
    """The score at which it no longer fits."""


@dataclass(frozen=True, slots=True)
class PatchFacts:
    """A patch in a few figures."""

    id: str
    """Digest of the patch."""
    candidate: str
    """As of the report."""
    taps: Count
    """Places in the model that it corrects."""
    channels: Count
    """Channels that it corrects."""
    frames: Count
    """That it was made from."""
    model_sha256: str
    """Of the model that it was made for."""
    baseline_id: str
    """Of the baseline that it was made from."""
    created_wall_s: UnixTime
    size_bytes: Count


@dataclass(frozen=True, slots=True)
class RecalibrationReport:
    """The findings of a recalibration; the fields of ``calibration.Verdict`` as JSON has them."""

    accepted: bool
    """By the gate; False of a patch that was refused in the shadow."""
    candidate: str
    """The candidate that was chosen; ``identity``, the unpatched model, when nothing is changed; of a patch that is
    used again its id."""
    reasons: tuple[str, ...]
    """Sentences for a person."""
    notes: tuple[str, ...]
    """Limits of the answer."""
    patch: PatchFacts | None
    """None unless accepted."""
    scores: dict[str, dict[str, float | None]]
    """By candidate, its figures by name; None is not finite."""
    drift: dict[str, float | None]
    """By tap, distance from the baseline before a correction (symmetric KL divergence in nats, >= 0)."""
    frames: FrameCounts
    """Where the reference frames went."""
    skipped_layers: dict[str, str]
    """By layer, why it cannot be corrected."""
    channels_left_alone: Count
    """That could not take the correction."""
    channels_clipped: Count
    """Whose scale hit its limit."""
    seconds: Seconds
    """How long it took."""
    extra_memory_mb: float
    """Growth of the peak memory of the process."""
    model_sha256: str
    """Of the patched model when accepted, else of the base."""
    baseline_id: str
    """Of the baseline in use."""
    seed: int
    """Of the random draws."""
    cause: str
    """``drift alarm``, ``schedule`` or ``command``."""
    at: UnixTime
    """When the work began."""
    report: str | None = None
    """``model/id`` of the page below ``/reports``; None when there is no page."""
    is_known: bool = False
    """A patch that was accepted for this drift before is used again; ``candidate`` is its id."""
    reference: str = "live"
    """The pictures: ``live`` (frames of the cameras), ``folder``, or the name of a reference set."""
    dry_run: bool = False
    """Nothing was changed, whatever the gate decided."""


@dataclass(frozen=True, slots=True)
class Commissioned:
    """A baseline was recorded."""

    kind: ClassVar = "commissioned"
    name: str
    """Of the baseline."""
    frames: Count
    """Healthy frames it was made from."""
    taps: Count
    """Places in the model where moments were measured."""
    effective_frames: Annotated[float, Field(ge=0)]
    """As many independent frames would tell as much; <= frames."""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A commissioning or a recalibration ended without a result; nothing was changed."""

    task: Literal["commission", "recalibrate"]
    error: str
    """Why."""
    cause: str
    """``first start``, ``drift alarm``, ``schedule`` or ``command``."""
    is_lasting: bool
    """Not tried again until the model or the configuration changes, or on command."""
    dry_run: bool = False
    """Whether nothing would have been changed anyway."""

    @property
    def kind(self) -> str:
        """The kind that its success would have."""
        return Commissioned.kind if self.task == "commission" else Recalibrated.kind


@dataclass(frozen=True, slots=True)
class BaselineChanged:
    """The camera is nearer to another baseline now, which is in use from here on."""

    kind: ClassVar = "baseline"
    before: str
    """The baseline that was in use."""
    after: str
    """The one that is in use now."""
    scores: Mapping[str, BaselineScore]
    """By baseline."""


@dataclass(frozen=True, slots=True)
class PatchesPaused:
    """No patch can be made at present; published once for each reason."""

    kind: ClassVar = "baseline"
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class PatchResumed:
    """The patch that was active with this baseline before is active again."""

    kind: ClassVar = "baseline"
    generation: Generation
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class DriftAlarm:
    """The pictures of the camera no longer agree with the baseline."""

    kind: ClassVar = "drift"
    figures: DriftFigures


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """A patch was accepted by the gate, and is active: a new one, or one that is known."""

    kind: ClassVar = "recalibration"
    report: RecalibrationReport
    generation: Generation


@dataclass(frozen=True, slots=True)
class RecalibrationRefused:
    """The gate accepted no candidate; nothing was changed."""

    kind: ClassVar = "recalibration"
    report: RecalibrationReport


@dataclass(frozen=True, slots=True)
class PatchProposed:
    """A patch was accepted by the gate, and waits for a person."""

    kind: ClassVar = "recalibration"
    report: RecalibrationReport
    patch: str
    """Its id."""


@dataclass(frozen=True, slots=True)
class PatchObserved:
    """A patch was accepted by the gate, and is not used: the box only observes."""

    kind: ClassVar = "recalibration"
    report: RecalibrationReport


@dataclass(frozen=True, slots=True)
class DryRunEnded:
    """The gate has decided in a dry run; nothing was changed."""

    kind: ClassVar = "recalibration"
    report: RecalibrationReport


@dataclass(frozen=True, slots=True)
class ProposalEnded:
    """A patch that waited for a person is active, will never be, or waits no longer."""

    kind: ClassVar = "proposal"
    patch: str
    """Its id."""
    outcome: Literal["approved", "rejected", "withdrawn"]
    """``approved``: it is active, or in the shadow first. ``rejected``: never used again.
    ``withdrawn``: its drift is over, or it cannot be used any more."""
    reason: str
    """``command``, or why it was withdrawn."""
    generation: Generation | None = None
    """Active now; only when approved, and not where the patch goes into the shadow first."""


ShadowOutcome = Literal[
    "begun", "waits", "active", "refused", "inconclusive", "failed", "withdrawn", "rejected"
]


@dataclass(frozen=True, slots=True)
class PatchTried:
    """A patch that the gate accepted begins to be tried in the shadow, or that has ended."""

    kind: ClassVar = "shadow"
    patch: str
    """Its id."""
    outcome: ShadowOutcome
    """``waits``: for a newer version that is on its way. ``inconclusive``: it waits for a person. ``failed``: it
    cannot be opened or put in. ``withdrawn``: ended without a verdict. ``rejected``: by command."""
    active: str
    """The generation that it is compared with, which answers meanwhile."""
    reason: str
    """Why."""
    findings: Mapping[str, Mapping[str, float | str | None]] = field(default_factory=dict)
    """By metric: ``value``, ``limit`` and ``verdict``; empty before the first look."""
    report: str | None = None
    """``model/id`` of the page below ``/reports``; None when there is none."""
    generation: Generation | None = None
    """Active now; only then."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The base or an earlier generation is active again."""

    kind: ClassVar = "rollback"
    before: Generation
    """The generation that was active."""
    after: Generation
    """The one that is active now; without ``+patch`` it is the bundle as it is."""
    reason: str
    """Why."""
