"""The messages between the daemon and the recalibration process: a request, how far it is, and one of three results.

All are JSON. Both ends are of one version: a field that is missing or of another type is refused, a number in a string
too.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

from pydantic import ValidationError

from calibration.baseline.metadata import BaselineFacts
from calibration.search.progress import SearchPhase
from calibration.stats.json_values import count_values
from calibration.stats.regular_file import read_regular
from calibration.verdict import Verdict
from edge_runtime.config import PicturesConfig, RecalibrationConfig
from edge_runtime.errors import StateError
from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.reference.reservoir import InputMoments
from edge_runtime.recalibration.task import Cause, ChosenReference, Kind
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.lazy_adapter import LazyAdapter


@dataclass(frozen=True, slots=True)
class JobRequest:
    """One job."""

    kind: Kind
    cause: Cause
    at_wall_s: float
    """Unix time of now, seconds."""
    bundle: Path
    baseline: Path
    """The file to recalibrate from; not read by a commissioning."""
    reference: ChosenReference
    """Where the pictures are. Frames are handed over as well for a set by name: its patch is judged on them too."""
    frames: int
    """Most pictures of a folder to use."""
    settings: RecalibrationConfig
    facts: BaselineFacts | None
    """Of the baseline that a commissioning makes; None for a recalibration."""
    further_input: tuple[InputMoments, ...]
    """Moments of samples of which no picture may be kept; they join in the correction of the input."""
    manifest_sha256: str
    """Of the bundle that the daemon verified and runs: another one in its folder is refused."""
    pictures: PicturesConfig = field(default_factory=PicturesConfig)
    """Limits for the pictures of the folder."""
    known: dict[str, Path] = field(default_factory=dict)
    """By id, the files of patches that were accepted for this drift before: they are judged first."""
    start: Path | None = None
    """File of the patch in force, where its drift goes on: the descent may start there. None starts at the input."""
    is_dry_run: bool = False
    """Whether nothing will come of it but its report."""

    @property
    def keep_pictures(self) -> bool:
        """Whether results may hold pictures: the healthy frames in a baseline, thumbnails in a report."""
        return self.settings.reference.pictures == "keep"


@dataclass(frozen=True, slots=True)
class CommissioningResult:
    """A baseline and a probe model are in the job's folder."""

    frames: int
    taps: int
    effective_frames: float
    """As many independent frames would tell as much; <= frames."""


@dataclass(frozen=True, slots=True)
class JobFailure:
    """There is no result."""

    error: str
    is_lasting: bool = False
    """Whether trying again with the same model and configuration must fail too."""


JobPhase = Literal["preparing", "writing"] | SearchPhase
"""Of a job: before the work, after it, and in between those of a search; a commissioning only measures."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is."""

    phase: JobPhase
    """``preparing`` frames and model, ``measuring`` the drift, ``distilling``, ``correcting`` (patches by moments),
    ``screening`` all candidates on a few frames, ``judging`` the best ones, ``writing`` patch and report."""
    share: float
    """Of the phase that is done, 0..1."""


JobResult = CommissioningResult | RecalibrationReport | JobFailure
"""A refusal by the gate is a report, not a failure."""

T = TypeVar("T")

_SHOWN = 8
MOST_BYTES = 16 << 20
"""Of one message; a report of a net with hundreds of layers has some 100 KiB."""
MOST_VALUES = 200_000
"""Of one message; the moments of 4,096 samples of which no picture may be kept are 45,000."""


@dataclass(frozen=True, slots=True)
class MessageFile(Generic[T]):
    """A file in the job's folder that holds one message."""

    name: str
    form: LazyAdapter[T]
    """Lazy, since a start exchanges no message: building all three costs 6 ms."""

    def write(self, folder: Path, message: T) -> None:
        """Write it, whole or not at all.

        Raises:
            StateError: the disk refuses.
        """
        write_atomically(folder / self.name, self.form.adapter.dump_json(message))

    def read(self, folder: Path) -> T:
        """The message.

        Raises:
            OSError: it is not there.
            StateError: it is too long, or a field is missing or of another type; the message names it.
        """
        data = read_regular(folder / self.name, MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise StateError(f"{self.name} cannot be read: longer than {MOST_BYTES} bytes")
        if count_values(data) > MOST_VALUES:
            raise StateError(f"{self.name} cannot be read: more than {MOST_VALUES} values")
        try:
            return self.form.adapter.validate_json(data, strict=True)
        except ValidationError as err:
            problems = "; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in err.errors()[:_SHOWN]
            )
            raise StateError(f"{self.name} cannot be read: {problems}") from err


REQUEST: MessageFile[JobRequest] = MessageFile("job.json", LazyAdapter(JobRequest))
PROGRESS: MessageFile[JobProgress] = MessageFile("progress.json", LazyAdapter(JobProgress))
RESULT: MessageFile[JobResult] = MessageFile("outcome.json", LazyAdapter(JobResult))
_REPORT: LazyAdapter[RecalibrationReport] = LazyAdapter(RecalibrationReport)


def make_report(verdict: Verdict, request: JobRequest) -> RecalibrationReport:
    """The report of a verdict."""
    facts = {**verdict.to_json(), "frames": verdict.frames, "cause": request.cause, "at": request.at_wall_s}
    facts |= {"reference": request.reference.name, "dry_run": request.is_dry_run}
    return _REPORT.adapter.validate_python(facts | {"is_known": verdict.candidate in request.known})
